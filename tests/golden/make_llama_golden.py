#!/usr/bin/env python3
"""Write llama_tied.golden and llama_untied.golden: a tiny Llama computed by an independent program.

Reference: Hugging Face transformers' LlamaForCausalLM in float64 (eager attention), PyTorch autograd
and torch.optim.AdamW.  The files beside this script were written with Python 3.11.7, torch
2.13.0+cpu, transformers 5.23.0, numpy 2.4.6:

    python3 -m venv venv && venv/bin/pip install torch==2.13.0 transformers==5.23.0
    venv/bin/python make_llama_golden.py && sha256sum -c SHA256SUMS

File format.  ASCII lines, then an empty line, then the data:

    redistill-golden 1
    NAME DTYPE COUNT OFFSET        one line per array; DTYPE f32, f64 or i64, little-endian;
                                   OFFSET in bytes from the first byte after the empty line

Arrays (shapes are row-major, as in PyTorch):
    config         i64 [8]     vocab width layers heads kv_heads head_size ffn tied
    reals          f64 [2]     rope_theta norm_eps
    start          i64 [n+1]   first token of each packed sequence
    tokens target  i64 [T]     target -1: no loss there
    logits         f32 [T, V]
    logp           f64 [T]     log-probability of the target, 0 without one
    loss           f64 [1]     minus the mean of logp over the targets
    weight/NAME    f32         initial weight of parameter NAME in its Hugging Face shape
    grad/NAME      f32         gradient of loss
    adamw          f64 [5]     learning rate, beta1, beta2, epsilon, weight decay; decay on matrices
                               and embeddings, not on norms; no clipping, constant rate
    losses         f64 [11]    loss before each of ten AdamW steps on this batch, and after the last
    final/NAME     f32         weight after the ten steps
"""
import os

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

VOCAB, WIDTH, LAYERS, HEADS, KV_HEADS, HEAD_SIZE, FFN = 61, 24, 2, 6, 2, 4, 40
THETA, EPS = 10000.0, 1e-5
LENGTHS = [7, 1, 13, 5]
LR, BETA1, BETA2, ADAM_EPS, DECAY = 1e-3, 0.9, 0.95, 1e-8, 0.1
STEPS = 10


def build(tied, rng):
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=WIDTH, intermediate_size=FFN, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, head_dim=HEAD_SIZE,
        max_position_embeddings=64, rms_norm_eps=EPS, tie_word_embeddings=tied,
        attention_bias=False, mlp_bias=False, hidden_act="silu",
        rope_parameters={"rope_type": "default", "rope_theta": THETA}, attn_implementation="eager")
    model = LlamaForCausalLM(config).double()
    with torch.no_grad():
        for name, p in model.named_parameters():
            # Larger than a usual start, so that attention and gates are far from uniform; rounded to
            # float32, which is what the program under test is given.
            x = rng.standard_normal(tuple(p.shape))
            x = 1 + 0.2 * x if "norm" in name else 0.25 * x
            p.copy_(torch.from_numpy(x.astype(np.float32)).double())
    return model


def batch(rng):
    start = np.concatenate([[0], np.cumsum(LENGTHS)])
    tokens = rng.integers(0, VOCAB, start[-1])
    target = np.full(start[-1], -1)
    for a, b in zip(start[:-1], start[1:]):
        target[a:b - 1] = tokens[a + 1:b]
        target[a:a + (b - a) // 3] = -1  # a prompt without loss
    target[start[1]] = 17                # the sequence of one token
    return start, tokens, target


def evaluate(model, start, tokens, target, dtype=torch.float64):
    """Each sequence by itself; logits [T, V], log-probabilities [T], mean loss."""
    rows = [model(input_ids=torch.from_numpy(tokens[a:b])[None]).logits[0]
            for a, b in zip(start[:-1], start[1:])]
    logits = torch.cat(rows)
    assert logits.dtype == dtype
    wanted = torch.from_numpy(target)
    logp = torch.log_softmax(logits, -1).gather(1, wanted.clamp(min=0)[:, None])[:, 0]
    logp = torch.where(wanted >= 0, logp, torch.zeros_like(logp))
    return logits, logp, -logp.sum() / (wanted >= 0).sum()


def write(path, arrays):
    lines, blobs, offset = ["redistill-golden 1"], [], 0
    for name, (dtype, value) in arrays.items():
        value = np.ascontiguousarray(value).astype({"f32": "<f4", "f64": "<f8", "i64": "<i8"}[dtype])
        lines.append(f"{name} {dtype} {value.size} {offset}")
        blobs.append(value.tobytes())
        offset += len(blobs[-1])
    with open(path, "wb") as f:
        f.write(("\n".join(lines) + "\n\n").encode() + b"".join(blobs))


def make(path, tied, seed=20250):
    rng = np.random.default_rng(seed + tied)
    model = build(tied, rng)
    start, tokens, target = batch(rng)
    arrays = {
        "config": ("i64", [VOCAB, WIDTH, LAYERS, HEADS, KV_HEADS, HEAD_SIZE, FFN, int(tied)]),
        "reals": ("f64", [THETA, EPS]),
        "start": ("i64", start), "tokens": ("i64", tokens), "target": ("i64", target)}
    named = dict(model.named_parameters())
    for name, p in named.items():
        arrays["weight/" + name] = ("f32", p.detach().numpy().copy())
    logits, logp, loss = evaluate(model, start, tokens, target)
    loss.backward()
    arrays["logits"] = ("f32", logits.detach().numpy())
    arrays["logp"] = ("f64", logp.detach().numpy())
    arrays["loss"] = ("f64", [loss.item()])
    for name, p in named.items():
        arrays["grad/" + name] = ("f32", p.grad.numpy().copy())

    plain = [p for name, p in named.items() if "norm" in name]
    decayed = [p for name, p in named.items() if "norm" not in name]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": DECAY},
                                   {"params": plain, "weight_decay": 0.0}],
                                  lr=LR, betas=(BETA1, BETA2), eps=ADAM_EPS)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = evaluate(model, start, tokens, target)[2]
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    losses.append(evaluate(model, start, tokens, target)[2].item())
    arrays["adamw"] = ("f64", [LR, BETA1, BETA2, ADAM_EPS, DECAY])
    arrays["losses"] = ("f64", losses)
    for name, p in named.items():
        arrays["final/" + name] = ("f32", p.detach().numpy())
    write(path, arrays)
    return f"{os.path.basename(path)}: {os.path.getsize(path)} bytes, loss {losses[0]} -> {losses[-1]}"


def make_all(here, seed=20250):
    """Both files; the seed of those that are committed is the default."""
    torch.set_num_threads(1)
    for name, tied in ("llama_tied", True), ("llama_untied", False):
        print("# " + make(os.path.join(here, name + ".golden"), tied, seed))


if __name__ == "__main__":
    make_all(os.path.dirname(os.path.abspath(__file__)))
