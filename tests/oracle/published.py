"""Models of transformers and adapters of peft, in and out: logits of what is loaded, exported and
imported, within 1e-4; runs with every kind of adapter beside such a model, exported for peft."""
import json
import os
import subprocess
import tempfile

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config

import oracle

PROGRAM = os.path.join(oracle.BUILD, "redistill")
SIZES = dict(vocab_size=400, hidden_size=48, intermediate_size=80, num_hidden_layers=3,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256)
TOKENS = np.random.default_rng(1).integers(0, 400, 100)
TOLERANCE = 1e-4
work = tempfile.TemporaryDirectory()


def path(name):
    return os.path.join(work.name, name)


def redistill(*words):
    run = subprocess.run([PROGRAM, *words], text=True, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, timeout=300)
    if run.returncode != 0:
        oracle.diag(" ".join(words) + "\n" + run.stdout)
    return run.returncode == 0


def ours(source, *words):
    """Logits of a model as redistill computes them."""
    out = path("logits")
    np.savetxt(path("tokens"), TOKENS, fmt="%d")
    if not redistill("logits", source, "--tokens", path("tokens"), "--to", out, *words):
        return np.full((len(TOKENS), 400), np.nan)
    return np.fromfile(out, np.float32).reshape(len(TOKENS), -1)


def theirs(model):
    with torch.no_grad():
        return model(torch.tensor(TOKENS[None])).logits[0].float().numpy()


def loaded(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def equal(a, b, what, tolerance=TOLERANCE):
    off = np.abs(a - b).max() if a.shape == b.shape else np.nan
    oracle.ok(off <= tolerance, f"{what} ({off:.1e} of {np.abs(b).max():.1f})")


def enlarged(model):
    """Weights larger than the usual start, so that nothing is nearly linear."""
    torch.manual_seed(7)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim == 2:
                p.normal_(0, 1.5 / p.shape[1] ** 0.5 if "embed" not in name else 0.3)
            else:
                p.add_(0.3 * torch.randn_like(p))
    return model.eval()


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64, "rope_theta": 5000.0}
MODELS = {
    "llama, tied": LlamaConfig(**SIZES, tie_word_embeddings=True),
    "llama, heads of 20": LlamaConfig(**SIZES, head_dim=20, rms_norm_eps=1e-5),
    "llama 3.1": LlamaConfig(**SIZES, rope_parameters=LLAMA3),
    "mistral": MistralConfig(**SIZES, sliding_window=None),
    "qwen2": Qwen2Config(**SIZES, tie_word_embeddings=True,
                         rope_parameters={"rope_type": "default", "rope_theta": 1e6}),
}


def check_model(name, config, number):
    folder = path(f"model{number}")
    model = enlarged(AutoModelForCausalLM.from_config(config))
    model.save_pretrained(folder, max_shard_size="100KB" if number % 2 else "1GB")
    want = theirs(model)
    equal(ours(folder), want, f"{name}: logits")
    out = path(f"out{number}")
    oracle.ok(redistill("export", folder, "--to", out, "--shard-gb", "1e-4"), f"{name}: exported")
    equal(theirs(loaded(out)), want, f"{name}: what transformers loads")
    oracle.ok(redistill("import", folder, "--to", path("model.h5")), f"{name}: imported")
    equal(ours(path("model.h5")), want, f"{name}: logits of the checkpoint")
    oracle.ok(redistill("export", path("model.h5"), "--to", out + "h5"),
              f"{name}: the checkpoint exported")
    equal(theirs(loaded(out + "h5")), want, f"{name}: what transformers loads")
    for dtype in torch.bfloat16, torch.float16:
        short = "bf16" if dtype is torch.bfloat16 else "f16"
        rounded = loaded(folder)
        for p in rounded.parameters():
            p.data = p.data.to(dtype).float()
        oracle.ok(redistill("export", folder, "--to", out + short, "--dtype", short),
                  f"{name}: exported in {short}")
        equal(theirs(loaded(out + short)), theirs(rounded), f"{name}: the rounded weights")
        equal(ours(out + short), theirs(rounded), f"{name}: loaded again")
    return folder


def check_adapter(folder, name, **options):
    torch.manual_seed(3)
    config = LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.1, **options)
    model = get_peft_model(loaded(folder), config)
    with torch.no_grad():
        for key, p in model.named_parameters():
            if "lora_B" in key:
                p.normal_(0, 0.2)
            elif "magnitude" in key:
                p.mul_(1 + 0.2 * torch.rand_like(p))
    model.eval()
    want = theirs(model)
    here = path("adapter-" + name)
    model.save_pretrained(here)
    oracle.ok(np.abs(want - theirs(loaded(folder))).max() > 0.1, f"{name}: changes the model")
    equal(ours(here, "--base", folder), want, f"{name}: logits")
    oracle.ok(redistill("import", here, "--base", folder, "--to", here + ".h5"),
              f"{name}: imported")
    equal(ours(here + ".h5"), want, f"{name}: logits of the checkpoint")
    oracle.ok(redistill("export", here + ".h5", "--to", here + "-merged"), f"{name}: exported")
    equal(theirs(loaded(here + "-merged")), want, f"{name}: what transformers loads")
    for source, words in (here + ".h5", []), (here, ["--base", folder]):
        oracle.ok(redistill("export", "--format", "peft", source, *words, "--to", here + "-again"),
                  f"{name}: exported for peft")
        equal(theirs(PeftModel.from_pretrained(loaded(folder), here + "-again").eval()), want,
              f"{name}: what peft loads")


def add_tokenizer(folder):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    corpus = ["Input: [1, 2, 3]\nOutput: [4, 5]\nRule: reverse the list, keep odd numbers"]
    t.train_from_iterator(corpus, trainers.BpeTrainer(
        vocab_size=330, special_tokens=["<|pad|>", "<|bos|>", "<|eos|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    t.save(os.path.join(folder, "tokenizer.json"))
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as f:
        json.dump({"eos_token": "<|eos|>", "tokenizer_class": "PreTrainedTokenizerFast"}, f)


def check_run(folder, kind, rslora):
    """A run from a published base: what it exports is the model that it evaluates.  Not a wild one, in
    which single tokens would be 1e-4 off in float32 by themselves."""
    name = kind + (", rslora" if rslora else "")
    run = {
        "run": {"dir": path(f"run-{kind}{rslora}")},
        "stages": ["augment", "filter", "sft"],
        "tasks": [{"family": "list_function", "generate": 8, "difficulty": 0, "known_rule": True}],
        "augment": {"hypotheses": 6},
        "model": {"base": os.path.basename(folder), "chat": "none"},
        "sft": {"tokens": 6000, "batch_tokens": 1000, "micro_tokens": 1000, "lr": 5e-3,
                "adapter": {"kind": kind, "rank": 4, "alpha": 6, "rslora": rslora}},
    }
    config = path(f"run-{kind}{rslora}.json")
    with open(config, "w") as f:
        json.dump(run, f)
    oracle.ok(redistill("run", config), f"{name}: a run")
    want = ours(config)
    off = np.abs(want - theirs(loaded(folder))).max()
    oracle.ok(off > 0.05, f"{name}: has changed the model ({off:.2f})")
    out = path(f"tuned-{kind}{rslora}")
    oracle.ok(redistill("export", config, "--to", out), f"{name}: exported")
    equal(theirs(loaded(out)), want, f"{name}: what transformers loads")
    same = open(os.path.join(out, "tokenizer.json")).read() == open(
        os.path.join(folder, "tokenizer.json")).read()
    oracle.ok(same, f"{name}: with its tokenizer")
    oracle.ok(redistill("export", "--format", "peft", config, "--to", out + "-peft"),
              f"{name}: its adapter exported")
    tuned = PeftModel.from_pretrained(loaded(folder), out + "-peft").eval()
    equal(theirs(tuned), want, f"{name}: what peft loads")
    equal(ours(out + "-peft", "--base", folder), want, f"{name}: loaded again")


folders = {name: check_model(name, config, i) for i, (name, config) in enumerate(MODELS.items())}
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
check_adapter(folders["llama, tied"], "lora", r=8, lora_alpha=16, target_modules=ALL)
check_adapter(folders["qwen2"], "some", r=3, lora_alpha=5, target_modules=["q_proj", "up_proj"])
check_adapter(folders["mistral"], "rslora", r=4, lora_alpha=6, use_rslora=True,
              target_modules="all-linear")
check_adapter(folders["llama 3.1"], "dora", r=4, lora_alpha=8, use_dora=True, target_modules=ALL)
base = folders["llama, tied"]
add_tokenizer(base)
for kind, rslora in ("lora", False), ("lora", True), ("dora", False), ("pissa", False), \
        ("pissa", True), ("olora", False):
    check_run(base, kind, rslora)
work.cleanup()
oracle.done()
