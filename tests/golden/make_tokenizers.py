#!/usr/bin/env python3
"""Make tests/golden/tokenizers/: small vocabularies of each kind, and ids.json with the reference's ids.

    python3 tests/golden/make_tokenizers.py

The strings are some of those of tests/oracle/tokenizer_ids.py, which does the same with full
vocabularies.  Needs: pip install tokenizers (the versions used stand in the file).
"""
import json
import os
import random
import struct
import sys

import tokenizers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "tokenizers")
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(HERE, "..", "oracle"))
import tokenizer_ids as oracle  # noqa: E402

VOCAB, STRINGS = 500, 600


def samples():
    rng = random.Random(3)
    rest = [s for s in oracle.strings() if s not in oracle.EDGES and len(s) < 80]
    return [s for s in oracle.EDGES if len(s) < 150] + rng.sample(rest, STRINGS - len(oracle.EDGES))


def trained(pre, specials, alphabet):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(oracle.strings()[:4000], trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=[AddedToken(s, normalized=False) for s in specials], show_progress=False,
        initial_alphabet=alphabet))
    tok.encode_special_tokens = True  # text never becomes a special token, as in rd_tok_encode
    return tok


def gguf_value(v):
    """Type and bytes of a value in GGUF."""
    if isinstance(v, bool):
        return 7, struct.pack("<?", v)
    if isinstance(v, int):
        return 4, struct.pack("<I", v)
    if isinstance(v, str):
        b = v.encode()
        return 8, struct.pack("<Q", len(b)) + b
    if isinstance(v[0], float):
        return 9, struct.pack("<IQ", 6, len(v)) + struct.pack(f"<{len(v)}f", *v)
    if isinstance(v[0], int):
        return 9, struct.pack("<IQ", 5, len(v)) + struct.pack(f"<{len(v)}i", *v)
    return 9, struct.pack("<IQ", 8, len(v)) + b"".join(gguf_value(s)[1] for s in v)


def write_gguf(name, pairs):
    with open(os.path.join(OUT, name), "wb") as f:
        f.write(b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)))
        for key, v in pairs.items():
            kind, data = gguf_value(v)
            f.write(gguf_value(key)[1] + struct.pack("<I", kind) + data)


def bpe_gguf(name, tok, pre, specials, **more):
    model = json.loads(tok.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    write_gguf(name, {
        "general.architecture": "llama", "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": [3 if t in specials else 1 for t in tokens],
        "tokenizer.ggml.merges": merges} | {"tokenizer.ggml." + k: v for k, v in more.items()})


def smollm():
    """Like SmolLM2: digits one by one, some bytes without a token."""
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok = trained(pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), level]), specials,
                  [c for c in pre_tokenizers.ByteLevel.alphabet() if c < "\u0110"])
    bpe_gguf("smollm.gguf", tok, "smollm", specials, bos_token_id=1, eos_token_id=2, padding_token_id=2, add_bos_token=False)
    return {"smollm.gguf": lambda texts: [tok.encode(t, add_special_tokens=False).ids for t in texts]}


def main():
    os.makedirs(OUT, exist_ok=True)
    texts = samples()
    ids = {name: encode(texts) for part in (smollm,) for name, encode in part().items()}
    doc = {"versions": {"tokenizers": tokenizers.__version__, "python": sys.version.split()[0]}, "strings": texts, "ids": ids}
    with open(os.path.join(OUT, "ids.json"), "w", encoding="utf-8") as f:
        f.write(json.dumps(doc, separators=(",", ":")).replace("],[", "],\n[") + "\n")
    for name in sorted(os.listdir(OUT)):
        print(f"{name}: {os.path.getsize(os.path.join(OUT, name))} bytes")


if __name__ == "__main__":
    main()
