#!/usr/bin/env python3
"""Write architectures/: tiny random models of the four architectures as published folders, and what
transformers and peft compute with them.

The files beside this script were written with Python 3.11.7, torch 2.13.0+cpu, transformers 5.24.0,
peft 0.21.2, safetensors 0.8.0, numpy 2.4.6:

    python3 -m venv venv && venv/bin/pip install -r ../oracle/requirements.txt
    venv/bin/python make_architectures_golden.py && sha256sum -c SHA256SUMS

For each NAME of llama3 (LlamaForCausalLM with Llama 3.1's scaled rotary embedding), qwen2
(Qwen2ForCausalLM: biases, tied), mistral (MistralForCausalLM as v0.3: no window, heads that do not
add up to the width) and smollm2 (LlamaForCausalLM, 9 heads in 3 groups, tied; bfloat16 in shards):

    architectures/NAME/          config.json and safetensors, as save_pretrained writes them; llama3
                                 and mistral have the keys that published models have, of
                                 transformers 4
    architectures/NAME/lora/     a rank-8 LoRA of peft on all linear layers; for qwen2 also dora/
    architectures/NAME.golden    in the format of make_llama_golden.py:

    start          i64 [n+1]   first token of each packed sequence
    tokens target  i64 [T]     target -1: no loss there
    logits         f32 [T, V]  of the model without its adapter
    logp           f64 [T]     log-probability of the target, 0 without one
    loss           f64 [1]     minus the mean of logp over the targets: SFT's
    grad/NAME      f32         its gradient, of some parameters
    lora/logits    f32 [T, V]  with the adapter; likewise dora/…
    lora/loss      f64 [1]
    lora/NAME      f32         gradient of lora/loss, of every parameter of the adapter

Models are read back from their folders and computed in float64 (eager attention); the rotary
embedding's angles are float32 in transformers all the same.
"""
import json
import os
import shutil
import warnings

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config
from transformers.utils import logging

from make_llama_golden import evaluate, write

VOCAB, LAYERS = 48, 2
LENGTHS = [70, 1, 13, 9]  # the first is longer than llama3's original context
COMMON = dict(vocab_size=VOCAB, num_hidden_layers=LAYERS, rms_norm_eps=1e-5, hidden_act="silu",
              bos_token_id=1, eos_token_id=2)
GRADIENTS = ("embed_tokens.weight", "layers.0.self_attn.q_proj", "layers.0.self_attn.k_proj",
             "layers.0.self_attn.v_proj", "layers.1.self_attn.q_proj.bias",
             "layers.1.self_attn.k_proj.bias", "layers.1.mlp.down_proj", "norm.weight")

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

MODELS = {
    "llama3": (LlamaConfig(
        hidden_size=24, intermediate_size=32, num_attention_heads=3, num_key_value_heads=1,
        head_dim=8, max_position_embeddings=512, tie_word_embeddings=False,
        rope_parameters={"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0,
                         "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                         "original_max_position_embeddings": 64}, **COMMON), torch.float32, "5GB"),
    "qwen2": (Qwen2Config(
        hidden_size=24, intermediate_size=32, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=512, tie_word_embeddings=True, use_sliding_window=False,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6}, **COMMON),
        torch.float32, "5GB"),
    "mistral": (MistralConfig(
        hidden_size=20, intermediate_size=32, num_attention_heads=4, num_key_value_heads=2,
        head_dim=8, max_position_embeddings=512, tie_word_embeddings=False, sliding_window=None,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6}, **COMMON),
        torch.float32, "5GB"),
    "smollm2": (LlamaConfig(
        hidden_size=36, intermediate_size=48, num_attention_heads=9, num_key_value_heads=3,
        max_position_embeddings=512, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 100000.0}, **COMMON),
        torch.bfloat16, "20KB"),
}


def randomise(named, rng):
    """Larger than a usual start, so that attention and gates are far from uniform."""
    with torch.no_grad():
        for name, p in named:
            x = rng.standard_normal(tuple(p.shape))
            if "norm" in name:
                x = 1 + 0.2 * x
            elif "bias" in name:
                x = 0.7 * x
            elif "embed" in name:
                x = 0.5 * x
            else:
                x = 1.5 * x / np.sqrt(p.shape[1])
            p.copy_(torch.from_numpy(x.astype(np.float32)))


def read(path):
    with open(path) as f:
        return json.load(f)


def rewrite(path, value):
    with open(path, "w") as f:
        json.dump(value, f, indent=2, sort_keys=True)
        f.write("\n")


def published_keys(path):
    """config.json with rope_theta and rope_scaling, as transformers 4 wrote it."""
    config = read(path)
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = rope if rope["rope_type"] != "default" else None
    config["torch_dtype"] = config.pop("dtype")
    rewrite(path, config)


def save(folder, name, config, dtype, shard, rng):
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    randomise(model.named_parameters(), rng)
    model.to(dtype).save_pretrained(folder, max_shard_size=shard)
    os.remove(os.path.join(folder, "generation_config.json"))
    if name in ("llama3", "mistral"):
        published_keys(os.path.join(folder, "config.json"))


def load(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                 attn_implementation="eager")
    return model.eval()


def batch(rng):
    start = np.concatenate([[0], np.cumsum(LENGTHS)])
    tokens = rng.integers(0, VOCAB, start[-1])
    target = np.full(start[-1], -1)
    for a, b in zip(start[:-1], start[1:]):
        target[a:b - 1] = tokens[a + 1:b]
        target[a:a + (b - a) // 3] = -1  # a prompt without loss
    return start, tokens, target


def adapt(folder, kind, rng):
    """The model with an adapter that is saved as peft does, far from its start."""
    model = get_peft_model(load(folder), LoraConfig(
        r=8, lora_alpha=16, lora_dropout=0.0, target_modules=LINEAR, use_dora=kind == "dora",
        task_type="CAUSAL_LM"))
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    with torch.no_grad():
        for name, p in trained:
            x = torch.from_numpy(rng.standard_normal(tuple(p.shape)).astype("f4"))
            p.copy_(p * (1 + 0.2 * x) if "magnitude" in name else 0.1 * x)
    model.peft_config["default"].base_model_name_or_path = ""
    adapter = os.path.join(folder, kind)
    model.save_pretrained(adapter)
    os.remove(os.path.join(adapter, "README.md"))
    config = read(os.path.join(adapter, "adapter_config.json"))
    config["target_modules"].sort()  # a set there
    rewrite(os.path.join(adapter, "adapter_config.json"), config)
    return model.double()


def make(root, name, config, dtype, shard, seed):
    rng = np.random.default_rng(list(name.encode()) + ([seed] if seed else []))
    folder = os.path.join(root, name)
    shutil.rmtree(folder, ignore_errors=True)
    save(folder, name, config, dtype, shard, rng)
    start, tokens, target = batch(rng)
    arrays = {"start": ("i64", start), "tokens": ("i64", tokens), "target": ("i64", target)}

    model = load(folder).double()
    logits, logp, loss = evaluate(model, start, tokens, target)
    loss.backward()
    arrays["logits"] = ("f32", logits.detach().numpy())
    arrays["logp"] = ("f64", logp.detach().numpy())
    arrays["loss"] = ("f64", [loss.item()])
    for n, p in model.named_parameters():
        if any(g in n for g in GRADIENTS):
            arrays["grad/" + n] = ("f32", p.grad.numpy())

    for kind in ("lora", "dora") if name == "qwen2" else ("lora",):
        model = adapt(folder, kind, rng)
        logits, _, loss = evaluate(model, start, tokens, target)
        loss.backward()
        arrays[kind + "/logits"] = ("f32", logits.detach().numpy())
        arrays[kind + "/loss"] = ("f64", [loss.item()])
        for n, p in model.named_parameters():
            if p.requires_grad:
                n = n.replace("vector.default.weight", "vector").replace(".default", "")
                arrays[f"{kind}/{n}"] = ("f32", p.grad.numpy())
    write(folder + ".golden", arrays)
    print("#", name, *(f"{k} {v[0]}" for k, (_, v) in arrays.items() if k.endswith("loss")))


def make_all(here, seed=0):
    """All files; the seed of those that are committed is the default."""
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore")
    for key, value in MODELS.items():
        make(os.path.join(here, "architectures"), key, *value, seed)


if __name__ == "__main__":
    make_all(os.path.dirname(os.path.abspath(__file__)))
