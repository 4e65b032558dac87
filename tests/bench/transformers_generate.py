"""The requests of requests.c through transformers.generate in batches, for peers_search.py.

    transformers_generate.py MODEL REQUESTS key=value…     threads, dtype (f32, bf16), batch

Each call's requests are sorted by length, so that little is padded, and cut into batches; requests
with one prompt that are sampled come from it by num_return_sequences, so that it is computed once.
Prints: seconds, prompt tokens, new tokens.
"""
import itertools
import json
import sys
import time

import torch
import transformers

PAD = 2


def main():
    s = dict(threads="2", dtype="f32", batch="64")
    s.update(a.split("=", 1) for a in sys.argv[3:])
    torch.set_num_threads(int(s["threads"]))
    transformers.logging.set_verbosity_error()
    dtype = dict(f32=torch.float32, bf16=torch.bfloat16)[s["dtype"]]
    model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=dtype).eval()
    with open(sys.argv[2]) as f:
        requests = [json.loads(line) for line in f]
    tokens_in = tokens_out = 0
    size = int(s["batch"])
    begun = time.perf_counter()
    for _, call in itertools.groupby(requests, key=lambda r: r["call"]):
        kinds = {}
        for r in call:
            key = (r["temperature"], r["max_new"]) + ((tuple(r["ids"]),) if r["temperature"] > 0 else ())
            kinds.setdefault(key, []).append(r["ids"])
        for key, prompts in kinds.items():
            sampled = key[0] > 0
            copies = len(prompts) if sampled else 1
            todo = prompts[:1] if sampled else sorted(prompts, key=len)
            for i in range(0, len(todo), size):
                part = todo[i:i + size]
                longest = max(map(len, part))
                ids = torch.tensor([[PAD] * (longest - len(p)) + p for p in part])
                mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in part])
                more = dict(do_sample=True, temperature=key[0], top_k=0, top_p=1.0,
                            num_return_sequences=copies) if sampled else dict(do_sample=False)
                with torch.inference_mode():
                    out = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=key[1],
                                         eos_token_id=2, pad_token_id=PAD, **more)
                tokens_in += sum(map(len, part))
                tokens_out += int((out[:, longest:] != PAD).sum()) + out.shape[0]
    print(f"{time.perf_counter() - begun:.3f}\t{tokens_in}\t{tokens_out}")


main()
