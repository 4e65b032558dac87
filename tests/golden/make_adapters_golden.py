#!/usr/bin/env python3
"""Write adapters.golden: adapters as PEFT has them, of rank 8 on all linear layers.

The file beside this script was written with Python 3.11.7 and the versions of
tests/oracle/requirements.txt; `make check-oracle` makes others.

The model and the rows are random.  Starts (PiSSA's and OLoRA's decompositions, DoRA's magnitudes)
are PEFT's in float32; from there the adapter is moved by random steps, so that nothing is zero,
and everything further is in float64.  Format: make_llama_golden.py.  Arrays:
    config, reals, weight/NAME, rows/…   as in make_objectives_golden.py
    alpha            f64 [1]
    KIND/start/NAME  f32     KIND: lora rslora dora pissa olora; NAME as in PEFT's own files
    KIND/weight/NAME f32     moved; what the following belongs to
    KIND/loss        f64 [1] mean over the rows' response tokens, EOS among them
    KIND/grad/NAME   f32
    KIND/merged/NAME f32     weights after merge_and_unload(); NAME without an adapter
    steps/options            as in make_objectives_golden.py
    steps/KIND/…             runs of TRL's SFTTrainer for lora, dora; final/NAME of the adapter
"""
import os

import numpy as np
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

import make_objectives_golden as objectives
import references as ref

RANK, ALPHA = 8, 12
KINDS = {"lora": {}, "rslora": {"use_rslora": True}, "dora": {"use_dora": True},
         "pissa": {"init_lora_weights": "pissa"}, "olora": {"init_lora_weights": "olora"}}
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def saved_name(name):
    """That of a file, from that of a parameter."""
    name = name.replace(".default", "")
    return name.removesuffix(".weight") if "magnitude" in name else name


def adapter_of(peft):
    found = {saved_name(n): p for n, p in peft.named_parameters() if p.requires_grad}
    assert sorted(found) == sorted(get_peft_model_state_dict(peft)), "names of PEFT's own files"
    return found


def adapt(model, kind):
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=TARGETS,
                        task_type="CAUSAL_LM", **KINDS[kind])
    return get_peft_model(ref.copy_of(model).float(), config)


def move(peft, kind, rng):
    """Away from the start, to float32 numbers, then float64.  Fine steps beside a decomposition."""
    far = 0.15 if kind in ("lora", "rslora", "dora") else 0.03
    peft.double()
    with torch.no_grad():
        for name, p in adapter_of(peft).items():
            step = torch.from_numpy(rng.standard_normal(tuple(p.shape)))
            p.copy_((p * (1 + 0.2 * step) if "magnitude" in name else p + far * step).float())


def loss_of(peft, rows):
    """Transformers' own loss of a padded batch: the mean over all targets."""
    batch = ref.llama_factory_batch([(p, r, r) for p, r in rows])
    batch = {k: v[:len(rows)] for k, v in batch.items()}
    return peft(**batch).loss


def one_kind(model, rows, kind, rng):
    peft = adapt(model, kind)
    arrays = {}
    for name, p in adapter_of(peft).items():
        arrays[f"{kind}/start/{name}"] = ("f32", p.detach().numpy().copy())
    move(peft, kind, rng)
    for name, p in adapter_of(peft).items():
        arrays[f"{kind}/weight/{name}"] = ("f32", p.detach().numpy().copy())
    loss = loss_of(peft, rows)
    loss.backward()
    arrays[f"{kind}/loss"] = ("f64", [loss.item()])
    for name, p in adapter_of(peft).items():
        arrays[f"{kind}/grad/{name}"] = ("f32", p.grad.numpy().copy())
    if kind in ("lora", "dora"):
        arrays.update(steps(peft, rows, kind))
    return arrays


def merged(model, arrays, kind):
    peft = adapt_as(model, arrays, kind)
    whole = peft.merge_and_unload()
    return {f"{kind}/merged/{n}": ("f32", p.detach().numpy()) for n, p in whole.named_parameters()
            if any(t in n for t in TARGETS)}


def adapt_as(model, arrays, kind):
    """PEFT's start, then the moved weights in its place."""
    peft = adapt(model, kind).double()
    with torch.no_grad():
        for name, p in adapter_of(peft).items():
            p.copy_(torch.from_numpy(arrays[f"{kind}/weight/{name}"][1]))
    return peft


def without_magnitudes(trainer):
    """DoRA's magnitudes are vectors, like norms, and not decayed by us; Trainer decays them, so its
    choice is taken from it here."""
    chosen = trainer.get_decay_parameter_names
    trainer.get_decay_parameter_names = lambda m: [n for n in chosen(m) if "magnitude" not in n]
    return trainer


def steps(peft, rows, kind):
    trainer = ref.sft_trainer(peft, rows, per_device_train_batch_size=2,
                              gradient_accumulation_steps=3, **objectives.trainer_options())
    arrays = objectives.run(without_magnitudes(trainer), kind)
    arrays = {k: v for k, v in arrays.items() if "/final/" not in k}
    for name, p in adapter_of(peft).items():
        arrays[f"steps/{kind}/final/{name}"] = ("f32", p.detach().numpy().copy())
    return arrays


def make_all(here, seed=5207):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = ref.tiny_llama(rng, tied=False)
    rows = ref.random_items(rng, model.config.vocab_size, objectives.ROWS)
    arrays = {**ref.model_arrays(model), **ref.item_arrays("rows/", rows),
              "alpha": ("f64", [ALPHA]), "steps/options": ("f64", objectives.OPTIONS)}
    for kind in KINDS:
        arrays.update(one_kind(model, rows, kind, rng))
        arrays.update(merged(model, arrays, kind))
    path = os.path.join(here, "adapters.golden")
    ref.write(path, arrays)
    print("#", os.path.basename(path), os.path.getsize(path), "bytes")
    for kind in KINDS:
        print("#", kind, *arrays[kind + "/loss"][1])
    print("# steps", *arrays["steps/dora/losses"][1])


if __name__ == "__main__":
    make_all(os.path.dirname(os.path.abspath(__file__)))
