"""Training steps of redistill and of PyTorch side by side: same weights, rows, batch and number format.

    peers.py BUILD [CELL…]      a cell: 135m.full.f32, 5m.lora.bf16, 135m.orpo.lora.f32 …

Interleaved rounds, medians.  Ours as it is used: two ranks of one thread, and one rank of two
threads; PyTorch with two threads.  Rates are tokens (fed, without padding) per second.  x 1 rank: the
rate of two ranks over that of one rank of one thread alone with half of the rows.
"""
import os
import random
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SHAPES = {
    "135m": dict(vocab_size=49152, hidden_size=576, num_hidden_layers=30, num_attention_heads=9,
                 num_key_value_heads=3, intermediate_size=1536),
    "5m": dict(vocab_size=1024, hidden_size=256, num_hidden_layers=6, num_attention_heads=8,
               num_key_value_heads=8, intermediate_size=1024),
}
BATCH = {"135m": (4, 512), "5m": (8, 256)}
CELLS = [f"{shape}.{mode}.{dtype}{part}" for shape in SHAPES for dtype in ("f32", "bf16")
         for mode in ("full", "lora") for part in ("", ".third")] + \
        [f"135m.{mode}.{dtype}.orpo" for dtype in ("f32", "bf16") for mode in ("full", "lora")]
ROUNDS = int(os.environ.get("ROUNDS", 3))
STEPS = int(os.environ.get("STEPS", 3))


def make_model(shape, folder):
    import torch
    import transformers
    from transformers import LlamaConfig, LlamaForCausalLM
    transformers.logging.disable_progress_bar()
    torch.manual_seed(1)
    config = LlamaConfig(**SHAPES[shape], max_position_embeddings=1024, rms_norm_eps=1e-5,
                         tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
                         rope_parameters={"rope_type": "default", "rope_theta": 10000.0})
    LlamaForCausalLM(config).save_pretrained(folder)


def letters(rng, n):
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(n))


def write_rows(path, sequences, length, orpo, third):
    """Each sequence feeds `length` tokens: BOS, prompt, response; EOS is only a target."""
    rng = random.Random(1)
    response = length // 3 if third or orpo else length - 2
    with open(path, "w") as f:
        for _ in range(sequences // 2 if orpo else sequences):
            texts = [letters(rng, length - 1 - response), letters(rng, response)]
            f.write("\t".join(texts + [letters(rng, response)] * orpo) + "\n")


def ours(build, ranks, threads, model, rows, mode, dtype):
    env = dict(os.environ, OMP_NUM_THREADS=str(threads), OPENBLAS_NUM_THREADS="1",
               OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    with tempfile.TemporaryDirectory() as tmp:
        command = ["mpirun", "-n", str(ranks), "--bind-to", "core" if threads == 1 else "none",
                   os.path.join(build, "tests/bench/step"), model, rows, f"mode={mode}",
                   f"compute={dtype}", f"threads={threads}", f"steps={1 + STEPS}"]
        run = subprocess.run(command, env=dict(env, TMPDIR=tmp), capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{run.stdout}{run.stderr}")
    return parse(run.stdout.splitlines()[-1])


def parse(line):
    """The line of step.c or torch_step.py; share: of the product rate, where it is said."""
    tokens, seconds, peak, first, last, *more = (float(x) for x in line.split("\t"))
    share = more[0] / seconds / more[1] if more else None
    return dict(rate=tokens / seconds, peak=peak, first=first, last=last, share=share)


class Torch:
    def __init__(self, *arguments):
        self.process = subprocess.Popen([sys.executable, os.path.join(HERE, "torch_step.py"), *arguments],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline().strip() == "ready"

    def round(self):
        self.process.stdin.write(f"{STEPS}\n")
        self.process.stdin.flush()
        return parse(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def median(results, key="rate"):
    return statistics.median(r[key] for r in results)


def measure(build, cell, models, tmp):
    shape, mode, dtype, *more = cell.split(".")
    rows = os.path.join(tmp, cell)
    sequences, length = BATCH[shape]
    write_rows(rows, sequences, length, "orpo" in more, "third" in more)
    write_rows(rows + ".half", sequences // 2, length, "orpo" in more, "third" in more)
    if shape not in models:
        models[shape] = os.path.join(tmp, shape)
        make_model(shape, models[shape])
    torch = Torch(models[shape], rows, f"mode={mode}", f"dtype={dtype}", "threads=2")
    two, one, alone, peer = [], [], [], []
    for _ in range(ROUNDS):
        alone.append(ours(build, 1, 1, models[shape], rows + ".half", mode, dtype))
        two.append(ours(build, 2, 1, models[shape], rows, mode, dtype))
        peer.append(torch.round())
        one.append(ours(build, 1, 2, models[shape], rows, mode, dtype))
    torch.end()
    best, theirs = max(median(two), median(one)), median(peer)
    scaled = statistics.median(t["rate"] / a["rate"] for t, a in zip(two, alone))
    print(f"{cell:24} {median(two):8.0f} {median(one):8.0f} {theirs:8.0f} {best / theirs:6.2f} {scaled:8.2f}  "
          f"{100 * median(two, 'share'):4.0f} % {100 * median(one, 'share'):4.0f} %  "
          f"{median(two, 'peak') / 2**20:6.0f} {median(one, 'peak') / 2**20:6.0f} "
          f"{median(peer, 'peak') / 2**20:6.0f}   {two[0]['first']:.4f} {peer[0]['first']:.4f}", flush=True)


def main():
    build, cells = sys.argv[1], sys.argv[2:] or CELLS
    print(f"{'':24} {'tokens per second':26} {'ratio':>6} {'x 1 rank':>8}  {'of products':14} {'peak MiB of a process':20}  first loss\n"
          f"{'':24} {'2 ranks':>8} {'2 thr.':>8} {'PyTorch':>8} {'':6} {'':8}  {'2 ranks':>6} {'2 thr.':>6}  "
          f"{'2 ranks':>6} {'2 thr.':>6} {'PyTorch':>6}  ours   PyTorch", flush=True)
    models = {}
    with tempfile.TemporaryDirectory() as tmp:
        for cell in cells:
            measure(build, cell, models, tmp)


main()
