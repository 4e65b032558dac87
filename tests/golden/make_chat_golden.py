#!/usr/bin/env python3
"""Make tests/golden/chat_golden.json: sequences by transformers' apply_chat_template.

    python3 tests/golden/make_chat_golden.py FOLDER

FOLDER holds the models' own templates, NAME.jinja for each family below: the "chat_template" of
SmolLM2-135M-Instruct, Qwen2.5-7B-Instruct, Meta-Llama-3-8B-Instruct, Llama-3.1-8B-Instruct and
Mistral-7B-Instruct-v0.3 (the file says of which bytes, as SHA-256).  The tokenizers are small ones
with each family's special tokens and pre-tokenizer, trained here; mistral's is
tokenizers/mistral_first.json.
Needs: pip install transformers (the versions used stand in the file).
"""
import hashlib
import json
import os
import sys

import tokenizers
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "chat_golden.json")
BYTE_LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False)


def split(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def tail(digits):
    return (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + digits +
            r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


LLAMA = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>"]
FAMILIES = {  # special tokens, those that come first as ids, pre-tokenizer, BOS, EOS
    "smollm2": (["<|endoftext|>", "<|im_start|>", "<|im_end|>"], True, BYTE_LEVEL, "<|im_start|>", "<|im_end|>"),
    "qwen2.5": (["<|endoftext|>", "<|im_start|>", "<|im_end|>"], False, split(tail("")), None, "<|im_end|>"),
    "llama3": (LLAMA, False, split(tail("{1,3}")), "<|begin_of_text|>", "<|eot_id|>"),
    "llama3.1": (LLAMA, False, split(tail("{1,3}")), "<|begin_of_text|>", "<|eot_id|>"),
    "mistral": (None, None, None, "<s>", "</s>"),
}
TEXTS = ["You are a helpful AI assistant named SmolLM, trained by Hugging Face", "system\nuser\nassistant\n\n",
         "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
         "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n",
         "Consider the following input-output examples. Your output should solely contain the rule.\n\nInput: [3, 1]\nOutput: [1]\n"]
USERS = ["Consider the following input-output examples.\n\nInput: [3, 1, 44]\nOutput: [44]\n\n", "Hello", " blank first, blank last ",
         "\nline feeds around\n", "  two blanks", "1 2 3", "\n\n\n", "naïve 你好 😀", "\u00a0\u3000wide blanks\u2003", "a\n\n\nb\t", "end.\r\n"]
RESPONSES = ["Remove all but the last element.", "[44]", " 3 1 ;", "undetermined\n", "Rule:\n\n1. Sort.\n2. Reverse.\n", "RED BLUE  ", "你好", "x",
             "It's 12.5 %", "\u2003wide\u2003", "ok \n"]
SYSTEMS = [None, "Be brief.", " Answer\nwith a list. "]


def make_tokenizer(name):
    specials, first, pre, bos, eos = FAMILIES[name]
    if pre is None:
        path = os.path.join(os.path.dirname(OUT), "tokenizers", "mistral_first.json")
        with open(path, encoding="utf-8") as f:
            return transformers.PreTrainedTokenizerFast(tokenizer_file=path, bos_token=bos, eos_token=eos), json.load(f)
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(TEXTS * 4, trainers.BpeTrainer(
        vocab_size=420, show_progress=False, special_tokens=specials if first else [],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tok.add_special_tokens(specials)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tok, bos_token=bos, eos_token=eos)
    return fast, json.loads(tok.to_str())


def case(fast, system, user, response):
    messages = [{"role": "system", "content": system}] if system is not None else []
    messages += [{"role": "user", "content": user}]
    out = {"system": system, "user": user, "response": response}
    text = fast.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = fast.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    out["prompt"], out["prompt_ids"] = text, ids
    # Mistral's template loses the system message when an answer follows: then the prompt above stands.
    whole = fast.apply_chat_template(messages + [{"role": "assistant", "content": response}], tokenize=False)
    if not whole.startswith(text):
        whole = text + fast.apply_chat_template(messages[-1:] + [{"role": "assistant", "content": response}], tokenize=False)[
            len(fast.apply_chat_template(messages[-1:], tokenize=False, add_generation_prompt=True)):]
    # ChatML has a line feed behind the end of a turn; nothing is generated there.
    out["whole"] = whole[:-1] if whole.endswith("\n") else whole
    out["whole_ids"] = fast(out["whole"], add_special_tokens=False)["input_ids"]
    return out


def main():
    doc = {"versions": {"transformers": transformers.__version__, "tokenizers": tokenizers.__version__,
                        "python": sys.version.split()[0]}, "families": []}
    for name in FAMILIES:
        with open(f"{sys.argv[1]}/{name}.jinja", encoding="utf-8") as f:
            template = f.read()
        fast, spec = make_tokenizer(name)
        fast.chat_template = template
        cases = [case(fast, SYSTEMS[(i + j) % 3 if i else j], user, RESPONSES[(i + 4 * j) % len(RESPONSES)])
                 for i, user in enumerate(USERS) for j in range(3)]
        doc["families"].append({"name": name, "template_sha256": hashlib.sha256(template.encode()).hexdigest(),
                                "tokenizer": spec, "cases": cases})
    with open(OUT, "w", encoding="utf-8") as f:
        json.dump(doc, f, separators=(",", ":"))
        f.write("\n")
    print(f"{OUT}: {os.path.getsize(OUT)} bytes")


if __name__ == "__main__":
    main()
