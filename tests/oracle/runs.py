"""Whole runs of the program against the trainers of TRL and LLaMA-Factory: from texts in datasets.h5
and weights in a checkpoint or a Hugging Face folder to losses, rates and norms in metrics.h5 and the
weights at the end; all weights, and adapters.

A step has all rows (pairs), so that the order in which each side takes them does not matter.
"""
import json
import os
import shutil
import subprocess
import tempfile

import h5py
import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

import make_adapters_golden as adapters
import make_objectives_golden as objectives
import oracle
import references as ref

STEPS, LAMBDA = objectives.STEPS, 0.3
TASKS = dict(difficulty=0, known_rule=True, generate=14, test=2, hypotheses=3)
SHAPE = dict(layers=2, width=32, heads=4, kv_heads=2, ffn=64, tied=False, rope_theta=5000)
RATES = dict(optimizer="adamw", lr=objectives.RATE, weight_decay=objectives.DECAY, micro_tokens=600,
             beta2=objectives.BETA2, clip=objectives.CLIP, warmup=objectives.WARMUP, max_len=300)


def config(directory, **more):
    path = os.path.join(directory, "config.json")
    whole = {
        "run": {"name": "oracle", "seed": 5, "dir": os.path.join(directory, "run")},
        "prompts": os.path.abspath("inputs/prompts/terse.json"),
        "tasks": [dict(TASKS, family="list_function"), dict(TASKS, family="arc1d")],
        "teacher": {"skill": "perfect"},
        "filter": {"follow_queries": True, "gap": {"list_function": 1, "arc1d": 1}},
        "model": {"init": SHAPE, "tokenizer": {"train_vocab": 400}},
        "arms": {"sft": {"stages": ["sft"]}}}
    for section, values in more.items():
        whole[section] = dict(whole.get(section, {}), **values)
    with open(path, "w") as f:
        json.dump(whole, f)
    return path


def run(ranks, directory, **more):
    os.makedirs(directory, exist_ok=True)
    done = subprocess.run(["mpirun", "-n", str(ranks), os.path.join(oracle.BUILD, "redistill"), "run",
                           config(directory, **more)], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=300)
    if not oracle.ok(done.returncode == 0, f"a run on {ranks} ranks"):
        oracle.diag(done.stdout[-2000:])
        oracle.done()
    return os.path.join(directory, "run")


def read_items(directory, table, columns):
    """Token ids of the texts that training takes, as the package `tokenizers` sees them."""
    tok = Tokenizer.from_file(os.path.join(directory, "tokenizer.json"))
    with h5py.File(os.path.join(directory, "datasets.h5")) as f:
        offset, raw = f["text/offset"][:], f["text/bytes"][:].tobytes()
        columns = [f[f"{table}/{c}"][:] for c in columns]
        keep = f[f"{table}/kind"][:] < 2 if table == "sft" else np.full(len(columns[0]), True)
    text = lambda i: raw[offset[i]:offset[i + 1]].decode()
    ids = {i: tok.encode(text(i), add_special_tokens=False).ids for c in columns for i in set(c)}
    return [tuple(ids[i] for i in item) for item, k in zip(zip(*columns), keep) if k], \
        tok.get_vocab_size()


def read_model(path, vocab):
    config = LlamaConfig(
        vocab_size=vocab, hidden_size=SHAPE["width"], intermediate_size=SHAPE["ffn"],
        num_hidden_layers=SHAPE["layers"], num_attention_heads=SHAPE["heads"],
        num_key_value_heads=SHAPE["kv_heads"], rms_norm_eps=1e-5, tie_word_embeddings=False,
        max_position_embeddings=512, pad_token_id=ref.PAD, bos_token_id=ref.BOS,
        eos_token_id=ref.EOS, attn_implementation="eager",
        rope_parameters={"rope_type": "default", "rope_theta": float(SHAPE["rope_theta"])})
    model = LlamaForCausalLM(config).double()
    with h5py.File(path) as f, torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.from_numpy(f["weights/" + name][:]).double())
    return model


def checkpoint(directory, arm, stage):
    return os.path.join(directory, "arms", arm, "checkpoints", f"{stage}-final.h5")


def furthest(path, group, parameters):
    """The largest relative difference from an array of a checkpoint, both in the Euclidean norm.

    AdamW steps by the sign of a gradient: a weight whose gradient is near 0 goes where rounding
    sends it, and the rest of its row follows.  One such element in some ten thousand says nothing;
    a wrong formula moves all of an array."""
    with h5py.File(path) as f:
        return max(np.linalg.norm(f[f"{group}/{name}"][:].reshape(p.shape) - p.detach().numpy()) /
                   np.linalg.norm(p.detach().numpy()) for name, p in parameters)


def compare(directory, arm, stage, trainer, what):
    want = objectives.run(trainer, "it")
    with h5py.File(os.path.join(directory, "arms", arm, "metrics.h5")) as f:
        got = {k: f[f"{stage}/{k}"][:] for k in ("loss", "lr", "grad_norm")}
    oracle.ok(len(got["loss"]) == STEPS, f"{what}: {STEPS} steps")
    for ours, theirs, most in ("loss", "losses", 1e-6), ("grad_norm", "grad_norm", 2e-5):
        off = np.abs(got[ours] / np.array(want["steps/it/" + theirs][1]) - 1).max()
        oracle.ok(off < most, f"{what}: {ours} ({off:.1e})")
    off = np.abs(got["lr"] - want["steps/it/rate"][1]).max() / objectives.RATE
    oracle.ok(off < 1e-12, f"{what}: rates ({off:.1e})")


def compare_whole(directory, arm, stage, trainer, what):
    compare(directory, arm, stage, trainer, what)
    off = furthest(checkpoint(directory, arm, stage), "weights", trainer.model.named_parameters())
    oracle.ok(off < 1e-4, f"{what}: the weights at the end ({off:.1e})")


def compare_adapter(directory, arm, model, first, kind, rows, more):
    """first: a checkpoint with the adapter's initial values."""
    peft = adapters.adapt(model, kind)
    peft.double()
    found = adapters.adapter_of(peft)
    with h5py.File(first) as f, torch.no_grad():
        for name, p in found.items():
            p.copy_(torch.from_numpy(f["adapter/" + name][:].reshape(p.shape)).double())
    trainer = adapters.without_magnitudes(ref.sft_trainer(peft, rows, **more))
    compare(directory, arm, "sft", trainer, arm)
    path = checkpoint(directory, arm, "sft")
    off = furthest(path, "adapter", found.items())
    oracle.ok(off < 1e-4, f"{arm}: the adapter at the end ({off:.1e})")
    with h5py.File(path) as f:
        if "weights" not in f:
            return  # the base is a published model, which the file names in place of repeating it
    off = furthest(path, "weights", peft.merge_and_unload().named_parameters())
    oracle.ok(off < 1e-4, f"{arm}: merged weights ({off:.1e})")


def compare_metrics(directory, arm, trainer):
    """What the first step logs, under TRL's names."""
    batches, _ = ref.batches_of(trainer, 1)
    with torch.no_grad():
        _, want = trainer.get_batch_loss_metrics(trainer.model, batches[0])
    pairs = {"nll": want["nll_loss"], "odds_loss": -want["log_odds_ratio"],
             "accuracy": want["rewards/accuracies"], "margin": want["log_odds_chosen"]}
    with h5py.File(os.path.join(directory, "arms", arm, "metrics.h5")) as f:
        for name, value in pairs.items():
            got = f["align/" + name][0]
            oracle.ok(abs(got - value) < 2e-6 * max(1, abs(value)), f"full: {name} {got:.7g}")


def save_folder(model, tokenizer, path):
    """As a published model is laid out."""
    model.float().save_pretrained(path)
    shutil.copy(tokenizer, os.path.join(path, "tokenizer.json"))
    model.double()
    return path


def compare_all(ranks, from_folder, directory):
    base = run(ranks, os.path.join(directory, "base"), sft=dict(RATES, tokens=3000, batch_tokens=500))
    rows, vocab = read_items(base, "sft", ("prompt", "response"))
    pairs, _ = read_items(base, "pair", ("prompt", "chosen", "rejected"))
    tokens = sum(1 + len(p) + len(r) for p, r in rows)
    pair_tokens = sum(2 + 2 * len(p) + len(c) + len(r) for p, c, r in pairs)
    oracle.diag(f"{len(rows)} rows of {tokens} tokens, {len(pairs)} pairs of {pair_tokens}")
    start = checkpoint(base, "sft", "sft")
    model = dict(base=start, chat="none")
    if from_folder:
        model["base"] = save_folder(read_model(start, vocab), os.path.join(base, "tokenizer.json"),
                                    os.path.join(directory, "folder"))
    adapter = {"sft.adapter.rank": adapters.RANK, "sft.adapter.alpha": adapters.ALPHA}
    arms = {"full": {"from": "sft", "stages": ["align"], "align.variant": "full"},
            "response": {"from": "sft", "stages": ["align"]}}
    for kind in "lora", "dora":
        arms[kind] = dict(adapter, stages=["sft"], **{"sft.adapter.kind": kind})
        arms[kind + "-start"] = dict(arms[kind], **{"sft.tokens": 1, "sft.lr": 0})
    done = run(ranks, os.path.join(directory, "tuned"), model=model, arms=arms,
               sft=dict(RATES, epochs=STEPS, batch_tokens=tokens),
               align=dict(RATES, epochs=STEPS, batch_tokens=pair_tokens, **{"lambda": LAMBDA}))
    more = dict(objectives.trainer_options(), per_device_train_batch_size=16,
                gradient_accumulation_steps=-(-len(rows) // 16))
    compare_whole(done, "sft", "sft", ref.sft_trainer(read_model(start, vocab), rows, **more), "sft")
    for kind in "lora", "dora":
        compare_adapter(done, kind, read_model(start, vocab),
                        checkpoint(done, kind + "-start", "sft"), kind, rows, more)
    start = checkpoint(done, "sft", "sft")
    more.update(per_device_train_batch_size=len(pairs), gradient_accumulation_steps=1)
    compare_metrics(done, "full", ref.orpo_trainer(read_model(start, vocab), pairs, LAMBDA, **more))
    compare_whole(done, "full", "align",
                  ref.orpo_trainer(read_model(start, vocab), pairs, LAMBDA, **more), "full")
    compare_whole(done, "response", "align",
                  ref.llama_factory_trainer(read_model(start, vocab), pairs, LAMBDA, **more),
                  "response")


torch.set_num_threads(1)
for ranks, from_folder in (1, False), (2, True):
    oracle.diag(f"{ranks} ranks, from a {'Hugging Face folder' if from_folder else 'checkpoint'}")
    with tempfile.TemporaryDirectory() as directory:
        compare_all(ranks, from_folder, directory)
oracle.done()
