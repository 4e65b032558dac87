"""What the makers of golden files share: tiny Llamas, token ids as text, the trainers they ask.

Everything is in float64, except where a library itself goes down to float32, which it does for the
log-probabilities of preference losses.
"""
import ast
import collections
import importlib.util
import os
import tempfile
import types
import warnings

import datasets
import numpy as np
import torch
import transformers
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

PAD, BOS, EOS = 0, 1, 2
THETA, EPS = 10000.0, 1e-5
warnings.filterwarnings("ignore")
transformers.logging.set_verbosity_error()
datasets.disable_progress_bars()


def write(path, arrays):
    """The format of make_llama_golden.py."""
    lines, blobs, offset = ["redistill-golden 1"], [], 0
    for name, (dtype, value) in arrays.items():
        value = np.ascontiguousarray(value).astype({"f32": "<f4", "f64": "<f8", "i64": "<i8"}[dtype])
        lines.append(f"{name} {dtype} {value.size} {offset}")
        blobs.append(value.tobytes())
        offset += len(blobs[-1])
    with open(path, "wb") as f:
        f.write(("\n".join(lines) + "\n\n").encode() + b"".join(blobs))


# ---------------------------------------------------------------- models

def tiny_llama(rng, tied, vocab=61, width=24, layers=2, heads=4, kv_heads=2, head_size=8, ffn=40):
    """Weights larger than a usual start, so that attention and gates are far from uniform, and
    rounded to float32, which is what the program under test is given."""
    config = LlamaConfig(
        vocab_size=vocab, hidden_size=width, intermediate_size=ffn, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=head_size,
        max_position_embeddings=128, rms_norm_eps=EPS, tie_word_embeddings=tied,
        attention_bias=False, mlp_bias=False, hidden_act="silu", pad_token_id=PAD,
        bos_token_id=BOS, eos_token_id=EOS,
        rope_parameters={"rope_type": "default", "rope_theta": THETA}, attn_implementation="eager")
    model = LlamaForCausalLM(config).double()
    with torch.no_grad():
        for name, p in model.named_parameters():
            x = rng.standard_normal(tuple(p.shape))
            x = 1 + 0.2 * x if "norm" in name else 0.25 * x
            p.copy_(torch.from_numpy(x.astype(np.float32)).double())
    return model


def copy_of(model):
    other = LlamaForCausalLM(model.config).double()
    other.load_state_dict(model.state_dict())
    return other


def model_arrays(model):
    c = model.config
    arrays = {
        "config": ("i64", [c.vocab_size, c.hidden_size, c.num_hidden_layers, c.num_attention_heads,
                           c.num_key_value_heads, c.head_dim, c.intermediate_size,
                           int(c.tie_word_embeddings)]),
        "reals": ("f64", [THETA, EPS])}
    for name, p in model.named_parameters():
        arrays["weight/" + name] = ("f32", p.detach().numpy().copy())
    return arrays


def gradient_arrays(prefix, model):
    return {prefix + name: ("f32", p.grad.numpy().copy()) for name, p in model.named_parameters()
            if p.grad is not None}


# ---------------------------------------------------------------- token ids as text

def word_tokenizer(vocab):
    """Word "t7" is token 7; BOS is put before, as Llama's own tokenizers do."""
    words = {f"t{i}": i for i in range(vocab)}
    words.update({"<pad>": PAD, "<s>": BOS, "</s>": EOS})
    for i in PAD, BOS, EOS:
        del words[f"t{i}"]
    tok = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tok.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tok.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", BOS)])
    return PreTrainedTokenizerFast(tokenizer_object=tok, bos_token="<s>", eos_token="</s>",
                                   pad_token="<pad>")


def text_of(ids):
    return " ".join(f"t{i}" for i in ids)


def as_dataset(items, columns):
    """Items are tuples of token lists.  Only the first text of a row has no space before it."""
    return Dataset.from_list([{c: (" " if k else "") + text_of(t)
                               for k, (c, t) in enumerate(zip(columns, item))} for item in items])


def random_items(rng, vocab, lengths):
    return [tuple(rng.integers(EOS + 1, vocab, n).tolist() for n in row) for row in lengths]


def item_arrays(prefix, items):
    return {prefix + "lengths": ("i64", [len(t) for item in items for t in item]),
            prefix + "tokens": ("i64", [i for item in items for t in item for i in t])}


# ---------------------------------------------------------------- trainers

def trainer_arguments(**more):
    return dict(output_dir=tempfile.mkdtemp(prefix="oracle"), report_to=[], use_cpu=True, bf16=False,
                gradient_checkpointing=False, save_strategy="no", logging_steps=1, seed=1,
                disable_tqdm=True, dataloader_pin_memory=False, **more)


def sft_trainer(model, rows, **more):
    """TRL's, on prompt-completion rows."""
    from trl import SFTConfig, SFTTrainer
    args = SFTConfig(**trainer_arguments(max_length=None, packing=False, **more))
    return SFTTrainer(model=model, args=args, processing_class=word_tokenizer(model.config.vocab_size),
                      train_dataset=as_dataset(rows, ("prompt", "completion")))


def orpo_trainer(model, pairs, beta, **more):
    """TRL's."""
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer
    args = ORPOConfig(**trainer_arguments(beta=beta, max_length=512, remove_unused_columns=False, **more))
    return ORPOTrainer(model=model, args=args,
                       processing_class=word_tokenizer(model.config.vocab_size),
                       train_dataset=as_dataset(pairs, ("prompt", "chosen", "rejected")))


def batches_of(trainer, n):
    """The batches of one step of n accumulations, and the number of its targets."""
    return trainer.get_batch_samples(iter(trainer.get_train_dataloader()), n, torch.device("cpu"))


def seq2seq_trainer(model, rows, **more):
    """The class that LLaMA-Factory's SFT trainer leaves the loss to, on rows with its labels:
    nothing on the prompt, everything on response and EOS."""
    from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments
    data = Dataset.from_list([{"input_ids": [BOS] + p + r + [EOS], "attention_mask":
                               [1] * (len(p) + len(r) + 2), "labels":
                               [-100] * (1 + len(p)) + r + [EOS]} for p, r in rows])
    tok = word_tokenizer(model.config.vocab_size)
    return Seq2SeqTrainer(model=model, args=Seq2SeqTrainingArguments(**trainer_arguments(**more)),
                          processing_class=tok, train_dataset=data,
                          data_collator=DataCollatorForSeq2Seq(tok, label_pad_token_id=-100))


# ---------------------------------------------------------------- LLaMA-Factory

def functions_of(package, path, names, namespace):
    """Functions (and methods) of an installed package's file, as they stand there, without
    importing it: LLaMA-Factory wants older versions of the libraries around it."""
    root = importlib.util.find_spec(package).submodule_search_locations[0]
    with open(os.path.join(root, path)) as f:
        tree = ast.parse(f.read())
    found = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name in names]
    assert sorted(n.name for n in found) == sorted(names), (path, names)
    for n in found:
        n.decorator_list = []
    code = ast.Module(body=[ast.ImportFrom("__future__", [ast.alias("annotations")], 0)] + found,
                      type_ignores=[])
    exec(compile(ast.fix_missing_locations(code), path, "exec"), namespace)
    return namespace


def llama_factory_orpo(beta):
    """LLaMA-Factory's preference trainer with pref_loss "orpo", as far as its losses go."""
    space = {"torch": torch, "F": torch.nn.functional, "IGNORE_INDEX": -100}
    functions_of("llamafactory", "train/trainer_utils.py", ["get_batch_logps"], space)
    methods = ["odds_ratio_loss", "compute_preference_loss", "concatenated_forward",
               "compute_reference_log_probs", "get_batch_loss_metrics"]
    functions_of("llamafactory", "train/dpo/trainer.py", methods, space)
    trainer = types.SimpleNamespace(
        beta=beta, loss_type="orpo", ftx_gamma=0.0, ld_alpha=None,
        accelerator=types.SimpleNamespace(device=torch.device("cpu")),
        finetuning_args=types.SimpleNamespace(use_ref_model=False),
        _stored_metrics=collections.defaultdict(list))
    for name in methods:
        setattr(trainer, name, types.MethodType(space[name], trainer))
    return trainer


def llama_factory_batch(pairs):
    """As its pairwise collator makes it: chosen sequences, then rejected ones, padded on the right."""
    rows = [(p, c) for p, c, _ in pairs] + [(p, r) for p, _, r in pairs]
    longest = max(len(p) + len(r) + 2 for p, r in rows)
    batch = {"input_ids": [], "attention_mask": [], "labels": []}
    for p, r in rows:
        n = len(p) + len(r) + 2
        batch["input_ids"].append([BOS] + p + r + [EOS] + [PAD] * (longest - n))
        batch["attention_mask"].append([1] * n + [0] * (longest - n))
        batch["labels"].append([-100] * (1 + len(p)) + r + [EOS] + [-100] * (longest - n))
    return {k: torch.tensor(v) for k, v in batch.items()}


def llama_factory_trainer(model, pairs, beta, **more):
    """Transformers' Trainer with LLaMA-Factory's loss, as its own class of it has."""
    from transformers import Trainer, TrainingArguments
    factory = llama_factory_orpo(beta)

    class PreferenceTrainer(Trainer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.model_accepts_loss_kwargs = False

        def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
            return factory.get_batch_loss_metrics(model, dict(inputs))[0]

    return PreferenceTrainer(
        model=model, args=TrainingArguments(remove_unused_columns=False, **trainer_arguments(**more)),
        train_dataset=Dataset.from_list([{"pair": i} for i in range(len(pairs))]),
        data_collator=lambda items: llama_factory_batch([pairs[i["pair"]] for i in items]))
