#!/usr/bin/env python3
"""Make tests/golden/tokenizers/: small vocabularies of each kind, and sums.json with the reference's ids.

    python3 tests/golden/make_tokenizers.py

The strings are some of those of tests/oracle/tokenizer_ids.py, which does the same with full
vocabularies.  Of each string the file holds the CRC-32 of the ids (as int32, little-endian) followed
by the bytes that they decode to.  Needs: pip install tokenizers tiktoken sentencepiece protobuf (the
versions used stand in the file).
"""
import base64
import io
import json
import os
import random
import struct
import sys
import zlib

import sentencepiece
import tiktoken
import tokenizers
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

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


# Added tokens that are no special ones are cut out of texts, each in its own way.
ADDED = [AddedToken("<tool_call>", normalized=False), AddedToken("</tool_call>", normalized=False),
         AddedToken("wug", normalized=False, single_word=True), AddedToken("[x]", normalized=False, lstrip=True),
         AddedToken("[y]", normalized=False, rstrip=True), AddedToken("[xyz]", normalized=False, lstrip=True, rstrip=True)]
ADDED_STRINGS = ["<tool_call>\n{}\n</tool_call>", "a<tool_call>b", "wug wugs awug 1wug _wug \u0301wug wug", "wug.wug,wug", "a [x] b  [x][x]",
                 "a [y] b[y]  \n c", "  [xyz]  [x]  [y]  [xyz]", "[xyz[x]", "<tool_call", "\u3000[x]\u2003", "[y]\u00a0\u2028z", "e\u0301<tool_call>e\u0301",
                 "<|im_end|>wug<|im_end|>", "<tool_call><tool_call>", "[x]", " [x]", "[y] ",
                 "[DOC_0]", " [DOC_0][DOC_1]", "a [DOC_0] b[DOC_1]c", "[DOC_0", "\u2581[DOC_1]\u2581"]


def trained(pre, specials, alphabet, normalizer=None, added=(), ignore_merges=False):
    tok = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tok.pre_tokenizer = pre
    tok.decoder = decoders.ByteLevel()
    if normalizer:
        tok.normalizer = normalizer
    tok.train_from_iterator(oracle.strings()[:4000], trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=[AddedToken(s, normalized=False) for s in specials], show_progress=False,
        initial_alphabet=alphabet))
    tok.add_tokens(list(added))
    tok.encode_special_tokens = True  # text never becomes a special token, as in rd_tok_encode
    return tok


def byte_of():
    """The letters of byte-level vocabularies."""
    plain = [b for b in range(256) if 32 < b < 127 or (b > 160 and b != 173)]
    out = {chr(b): b for b in plain}
    return out | {chr(256 + i): b for i, b in enumerate(b for b in range(256) if b not in plain)}


def level_bytes(tok, ids):
    letters, added = byte_of(), {str(t.content) for t in tok.get_added_tokens_decoder().values()}
    tokens = [tok.id_to_token(i) for i in ids]
    return b"".join(t.encode() if t in added else bytes(letters[c] for c in t) for t in tokens)


def of_tokenizers(tok, back):
    def encode(text):
        ids = tok.encode(text, add_special_tokens=False).ids
        return ids, back(tok, ids)
    return encode


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
    added = {i: t for i, t in tok.get_added_tokens_decoder().items() if i >= len(tokens)}
    tokens += [added[i].content for i in sorted(added)]
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    write_gguf(name, {
        "general.architecture": "llama", "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [4 if i in added else 3 if t in specials else 1 for i, t in enumerate(tokens)],
        "tokenizer.ggml.merges": merges} | {"tokenizer.ggml." + k: v for k, v in more.items()})


def write_json(name, tok):
    with open(os.path.join(OUT, name), "w", encoding="utf-8") as f:
        f.write(tok.to_str().replace("],[", "],\n[") + "\n")


def split(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def smollm():
    """Like SmolLM2: digits one by one, some bytes without a token."""
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok = trained(pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), level]), specials,
                  [c for c in pre_tokenizers.ByteLevel.alphabet() if c < "\u0110"])
    bpe_gguf("smollm.gguf", tok, "smollm", specials, bos_token_id=1, eos_token_id=2, padding_token_id=2, add_bos_token=False)
    return {"smollm.gguf": of_tokenizers(tok, level_bytes)}


def llama3():
    """Its pattern, ignore_merges, BOS in a template; the same in a GGUF."""
    specials = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
    tok = trained(split(oracle.LLAMA3), specials, pre_tokenizers.ByteLevel.alphabet(), added=ADDED, ignore_merges=True)
    tok.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
        single="<|begin_of_text|>:0 $A:0", pair="<|begin_of_text|>:0 $A:0 $B:1", special_tokens=[("<|begin_of_text|>", 0)])])
    write_json("llama3.json", tok)
    plain = trained(split(oracle.LLAMA3), specials, pre_tokenizers.ByteLevel.alphabet(), ignore_merges=True)
    bpe_gguf("llama3.gguf", plain, "llama-bpe", specials, bos_token_id=0, eos_token_id=1, eot_token_id=2, add_bos_token=True)
    return {"llama3.json": of_tokenizers(tok, level_bytes), "llama3.gguf": of_tokenizers(plain, level_bytes)}


def qwen2():
    """NFC, digits one by one, added tokens that are not special; the same in a GGUF."""
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tok = trained(split(oracle.LLAMA3.replace("{1,3}", "")), specials, pre_tokenizers.ByteLevel.alphabet(), normalizers.NFC(), ADDED[:2])
    write_json("qwen2.json", tok)
    bpe_gguf("qwen2.gguf", tok, "qwen2", specials, eos_token_id=2, padding_token_id=0, add_bos_token=False)
    return {name: of_tokenizers(tok, level_bytes) for name in ("qwen2.json", "qwen2.gguf")}


def gpt2():
    """ByteLevel's own pattern; added tokens that are looked for after (no) normalisation."""
    tok = trained(pre_tokenizers.ByteLevel(add_prefix_space=False), ["<|endoftext|>"], pre_tokenizers.ByteLevel.alphabet(),
                  added=[AddedToken(t.content, single_word=t.single_word, lstrip=t.lstrip, rstrip=t.rstrip) for t in ADDED[1:]] + ADDED[:1])
    write_json("gpt2.json", tok)
    return {"gpt2.json": of_tokenizers(tok, level_bytes)}


def ranks():
    """A rank file as tiktoken has it, with Llama 3's pattern."""
    model = json.loads(trained(split(oracle.LLAMA3), [], pre_tokenizers.ByteLevel.alphabet()).to_str())["model"]
    letters = byte_of()
    tokens = [bytes(letters[c] for c in t) for t in sorted(model["vocab"], key=model["vocab"].get)]
    with open(os.path.join(OUT, "llama3.ranks"), "wb") as f:
        f.write(b"".join(base64.b64encode(t) + b" %d\n" % i for i, t in enumerate(tokens)))
    e = tiktoken.Encoding("small", pat_str=oracle.LLAMA3, mergeable_ranks={t: i for i, t in enumerate(tokens)}, special_tokens={})
    return {"llama3.ranks": lambda text: (e.encode(text, disallowed_special=()), text.encode())}


def mistral():
    """SentencePiece's BPE: its own file, a GGUF, and tokenizer.json in three ways."""
    out, texts = io.BytesIO(), [s for s in oracle.strings()[:6000] if s.isprintable() and all(ord(c) < 0x180 or c in "你好的语мирт" for c in s)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=out, model_type="bpe", vocab_size=VOCAB + 360, byte_fallback=True, character_coverage=0.995,
        normalization_rule_name="identity", remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, split_digits=True,
        control_symbols=["[INST]", "[/INST]"], user_defined_symbols=["[DOC_0]", "[DOC_1]"], minloglevel=2)
    m = sentencepiece_model_pb2.ModelProto()
    m.ParseFromString(out.getvalue())
    known = {p.piece for p in m.pieces}
    for n in (2, 3, 4, 5, 8, 16):  # pieces of equal score, as Mistral has them
        if "\u2581" * n not in known:
            m.pieces.add(piece="\u2581" * n, score=-1e9)
    with open(os.path.join(OUT, "mistral.model"), "wb") as f:
        f.write(m.SerializeToString())
    sp = sentencepiece.SentencePieceProcessor(model_file=os.path.join(OUT, "mistral.model"))
    write_gguf("mistral.gguf", {
        "general.architecture": "llama", "tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": [p.piece for p in m.pieces],
        "tokenizer.ggml.scores": [float(p.score) for p in m.pieces], "tokenizer.ggml.token_type": [int(p.type) for p in m.pieces],
        "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2})
    def of_sentencepiece(text):
        # In front of a symbol of the user's, too, U+2581 in a text is a blank.
        return sp.encode(text), text.replace("\u2581", " ").encode()
    tests = {"mistral.model": of_sentencepiece, "mistral.gguf": of_sentencepiece}

    vocab = {p.piece: i for i, p in enumerate(m.pieces)}
    normal = {p.piece: -p.score for p in m.pieces if p.type == 1}
    merges = sorted((normal[p], vocab[p], len(p[:k]), p[:k], p[k:]) for p in normal for k in range(1, len(p)) if p[:k] in normal and p[k:] in normal)
    back = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    for name, normalizer, pre in (
            ("mistral_first.json", None, pre_tokenizers.Metaspace("\u2581", "first", False)),
            ("mistral_split.json", None, pre_tokenizers.Metaspace("\u2581", "always", True)),
            ("mistral_legacy.json", normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]), None)):
        tok = Tokenizer(models.BPE(vocab, [(a, b) for _, _, _, a, b in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        tok.add_special_tokens([AddedToken(p.piece, normalized=False) for p in m.pieces if p.type in (2, 3)])
        tok.add_tokens(ADDED[:3])
        if normalizer:
            tok.normalizer = normalizer
        if pre:
            tok.pre_tokenizer = pre
        tok.decoder = back
        tok.post_processor = processors.TemplateProcessing(single="<s>:0 $A:0", pair="<s>:0 $A:0 $B:1", special_tokens=[("<s>", 1)])
        tok.encode_special_tokens = True
        write_json(name, tok)
        tests[name] = of_tokenizers(tok, lambda t, ids: t.decode(ids, skip_special_tokens=False).encode())
    return tests


def main():
    os.makedirs(OUT, exist_ok=True)
    texts = samples() + ADDED_STRINGS
    sums = {}
    for part in (smollm, llama3, qwen2, gpt2, ranks, mistral):
        for name, encode in part().items():
            pairs = [encode(t) for t in texts]
            sums[name] = [zlib.crc32(back, zlib.crc32(struct.pack(f"<{len(ids)}i", *ids))) for ids, back in pairs]
    doc = {"versions": {"tokenizers": tokenizers.__version__, "tiktoken": tiktoken.__version__, "sentencepiece": sentencepiece.__version__,
                        "python": sys.version.split()[0]}, "strings": texts, "sums": sums}
    with open(os.path.join(OUT, "sums.json"), "w", encoding="utf-8") as f:
        f.write(json.dumps(doc, separators=(",", ":")).replace("],", "],\n") + "\n")
    for name in sorted(os.listdir(OUT)):
        print(f"{name}: {os.path.getsize(os.path.join(OUT, name))} bytes")


if __name__ == "__main__":
    main()
