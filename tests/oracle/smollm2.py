"""SmolLM2-135M-Instruct, all of it: logits and log-probabilities against those of transformers, which
widens the same GGUF file by itself (inputs/get_smollm2.sh fetches it)."""
import os
import sys
import tempfile

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

import make_llama_golden
import oracle

FILE = os.environ.get("SMOLLM2", "models/SmolLM2-135M-Instruct.Q4_1.gguf")
if not os.path.exists(FILE):
    print(f"1..0 # SKIP no {FILE} (inputs/get_smollm2.sh fetches it, SMOLLM2 says where it is)")
    sys.exit(0)

TEXT = ("<|im_start|>user\nWhat rule takes [1, 2, 3] to [2, 4, 6]?<|im_end|>\n"
        "<|im_start|>assistant\nThe rule doubles every element of the list.<|im_end|>\n")

torch.set_num_threads(1)
logging.disable_progress_bar()
folder, name = os.path.split(FILE)
tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32,
                                             attn_implementation="eager").eval()
# Text, one token, and tokens at random.
text = tokenizer(TEXT).input_ids
rng = np.random.default_rng(1)
tokens = np.append(text, rng.integers(0, model.config.vocab_size, 31))
start = np.array([0, len(text), len(text) + 1, len(tokens)])
target = np.append(tokens[1:], -1)
target[start[1:] - 1] = -1
with torch.no_grad():
    single = make_llama_golden.evaluate(model, start, tokens, target, torch.float32)[0].double()
    logits, logp, loss = make_llama_golden.evaluate(model.double(), start, tokens, target)
rounding = (single - logits).abs().max().item()
oracle.diag(f"in float32 transformers itself is off by {rounding / logits.abs().max().item():.1e}")
del model
with tempfile.TemporaryDirectory() as directory:
    make_llama_golden.write(os.path.join(directory, "smollm2.golden"), {
        "start": ("i64", start), "tokens": ("i64", tokens), "target": ("i64", target),
        "logits": ("f32", logits.numpy()), "logp": ("f64", logp.numpy()),
        "loss": ("f64", [loss.item()])})
    oracle.golden_test("test_architectures", directory, "SmolLM2", [FILE, "smollm2"])
oracle.done()
