"""The requests of requests.c through llama.cpp with parallel slots, for peers_search.py.

    llamacpp_generate.py MODEL.gguf REQUESTS key=value…     threads, slots, batch

Continuous batches over llama_decode as llama-server makes them, with its sampler; and beyond what
that does, a request begins with the longest prefix that any slot has computed (cells of a unified
cache are shared, nothing is copied).  Prints: seconds, prompt tokens, new tokens.
"""
import ctypes
import itertools
import json
import sys
import time

import llama_cpp as L

END = 2


class Slot:
    def __init__(self, number):
        self.number, self.ids, self.fed, self.request = number, [], 0, None


def common(a, b):
    n = 0
    for x, y in zip(a, b):
        if x != y:
            break
        n += 1
    return n


class Engine:
    def __init__(self, path, s):
        L.llama_log_set(QUIET, None)
        L.llama_backend_init()
        self.model = L.llama_model_load_from_file(path.encode(), L.llama_model_default_params())
        c = L.llama_context_default_params()
        self.slots = [Slot(i) for i in range(int(s["slots"]))]
        self.batch_size = int(s["batch"])
        c.n_ctx, c.n_batch, c.n_ubatch = 768 * len(self.slots), self.batch_size, 512
        c.n_seq_max, c.kv_unified = len(self.slots), True
        c.n_threads = c.n_threads_batch = int(s["threads"])
        self.ctx = L.llama_init_from_model(self.model, c)
        self.memory = L.llama_get_memory(self.ctx)
        self.batch = L.llama_batch_init(self.batch_size, 0, 1)
        self.tokens_in = self.tokens_out = 0

    def sampler(self, temperature):
        if temperature <= 0:
            return L.llama_sampler_init_greedy()
        chain = L.llama_sampler_chain_init(L.llama_sampler_chain_default_params())
        L.llama_sampler_chain_add(chain, L.llama_sampler_init_temp(temperature))
        L.llama_sampler_chain_add(chain, L.llama_sampler_init_dist(1))
        return chain

    def start(self, slot, request):
        ids = request["ids"]
        best, source = max(((min(common(o.ids[:o.fed], ids), len(ids) - 1), o is slot, o) for o in self.slots),
                           key=lambda t: t[:2])[::2]
        if source is not slot:
            L.llama_memory_seq_rm(self.memory, slot.number, -1, -1)
            if best:
                L.llama_memory_seq_cp(self.memory, source.number, slot.number, 0, best)
        else:
            L.llama_memory_seq_rm(self.memory, slot.number, best, -1)
        slot.ids, slot.fed, slot.request, slot.new = list(ids), best, request, 0
        slot.sampler = self.sampler(request["temperature"])
        self.tokens_in += len(ids)

    def add(self, token, position, slot, logits):
        b, i = self.batch, self.batch.n_tokens
        b.token[i], b.pos[i], b.n_seq_id[i] = token, position, 1
        b.seq_id[i][0], b.logits[i] = slot.number, logits
        b.n_tokens += 1
        return i

    def step(self, live):
        """One llama_decode: a token of every response under way, and prompts in what is left."""
        self.batch.n_tokens = 0
        ends = []
        for slot in sorted(live, key=lambda o: len(o.ids) - o.fed):
            count = min(len(slot.ids) - slot.fed, self.batch_size - self.batch.n_tokens)
            for k in range(count):
                last = slot.fed + k + 1 == len(slot.ids)
                at = self.add(slot.ids[slot.fed + k], slot.fed + k, slot, last)
                if last:
                    ends.append((slot, at))
            slot.fed += count
        if L.llama_decode(self.ctx, self.batch) != 0:
            sys.exit("llama_decode fails")
        for slot, at in ends:
            token = L.llama_sampler_sample(slot.sampler, self.ctx, at)
            slot.new += 1
            self.tokens_out += 1
            if token == END or slot.new == slot.request["max_new"]:
                L.llama_sampler_free(slot.sampler)
                slot.request = None
            else:
                slot.ids.append(token)

    def run(self, requests):
        waiting = list(requests)
        while True:
            for slot in self.slots:
                if slot.request is None and waiting:
                    # A prompt that is being computed in another slot is worth the wait.
                    ids = waiting[0]["ids"]
                    coming = [o for o in self.slots if o.request is not None and o.fed < len(o.request["ids"])
                              and common(o.ids, ids) > 32 + max(common(p.ids[:p.fed], ids) for p in self.slots)]
                    if coming:
                        break
                    self.start(slot, waiting.pop(0))
            live = [slot for slot in self.slots if slot.request is not None]
            if not live:
                return
            self.step(live)


@L.llama_log_callback
def QUIET(level, text, data):
    pass


def main():
    s = dict(threads="2", slots="32", batch="512")
    s.update(a.split("=", 1) for a in sys.argv[3:])
    with open(sys.argv[2]) as f:
        requests = [json.loads(line) for line in f]
    engine = Engine(sys.argv[1], s)
    begun = time.perf_counter()
    for _, call in itertools.groupby(requests, key=lambda r: r["call"]):
        engine.run(call)
    print(f"{time.perf_counter() - begun:.3f}\t{engine.tokens_in}\t{engine.tokens_out}")


main()
