#!/usr/bin/env python3
"""Token ids of full vocabularies against the reference tokenizers, on strings made here.

    tokenizer_ids.py BUILD [PATH ...]

Without paths: those that the variable TOKENIZERS names, and SmolLM2's file (SMOLLM2, fetched by
inputs/get_smollm2.sh) if it is there.  PATH is what a tokenizer is read from: tokenizer.json or a
byte-level .gguf (against the package `tokenizers`), tiktoken's rank file of Llama 3 (against
`tiktoken`), a SentencePiece model (against `sentencepiece`).  TAP on standard output; ids and the
decoded text of every string must be equal.
"""
import os
import random
import struct
import subprocess
import sys

SEED, WANTED = 20, 12000

EDGES = [
    "", " ", "  ", "   ", "\n", "\n\n", " \n ", "\t", "\r\n", "\r", "\n\r\n\r", "a\n\n\nb", "a \n b", "a  b", "a   b ", "  a", " a ",
    "[3, 1, 4] -> [1, 4]", "[10, 99, 100, 12345]", "-1", "1,000,000", "3.14159", "1e-5", "x1y22z333", "123456789", "0x1F 0b11 1_000",
    "doesn't can't I'm we've they'll he'd it's", "DOESN'T CAN'T I'M WE'VE THEY'LL HE'D IT'S", "'\u017f '\u017Ft '\u212a", "don\u2019t l\u2019\u00e9t\u00e9",
    "'quoted', \"too\"", "''s'' 'S 'Re 'lL 'Ve", "snake_case CamelCase kebab-case", "(((]]]{{{", "!!!???...", " !!! ???", "a+b=c; f(x) {return x[0];}",
    "https://example.org/?q=1&r=2#x", "C:\\dir\\file.txt", "user@example.com", "# Heading\n\n* item\n  * sub\n\n```c\nint x;\n```\n",
    "naïve café façade", "ÀÉÎÕÜ àéîõü ß ẞ", "e\u0301a\u0300 combining", "\u0301start", "q\u0323\u0307 q\u0307\u0323", "\u1e9b\u0323", "\u2126 \u212b \u00c5 A\u030a",
    "\u0958\u0959 \u0915\u093c", "\u1100\u1161\u11a8 \uac01", "\uf900\ufa0e \u2f800", "\U0001d15e\U0001d160", "\u0344 \u0343 \u0340", "ﬁ ﬂ ﬃ ﬆ", "Ⅷ ⅷ ① ½ ² ³ ⁴ ₅ ٣ ३ ๓ 三",
    "Привет, мир! 1, 2", "你好，世界。3，4", "こんにちは 7 カタカナ ｶﾞ", "안녕하세요 12", "مرحبا ٣, ٤", "नमस्ते १२३", "שלום 5 שָׁלוֹם", "ไทย ๑๒", "ქართული", "አማርኛ",
    "😀", " 😀😀 ", "👩‍👩‍👧‍👦 family", "🇩🇪🇫🇷 3", "👍🏽", "❤️ ✌️", "a\u00a0b", "a\u2003b\u3000c", "a\u2028b\u2029c", "a\u0085b", "a\u180eb \u180e", "a\u1680b", "a\u202fb\u205fc",
    "zero\u200bwidth", "\ufeffbom", "soft\u00adhyphen", "\u0001\u0002\u001f\u007f", "a\u000bb\u000cc", "\x1c\x1d\x1e\x1f", "→ ⇒ ∀x∈S: x≥3", "𝒜𝓑𝟙𝟚", "\U0010ffff", "\ufffd", "\ue000", "\ufdd0",
    "a" * 70, "ab" * 64, "7" * 65, " " * 80 + "x", "x" + " " * 80, "-" * 100, "=" * 130, "é" * 50, "the " * 40, "x\u0301" * 40, "\n" * 70, "\t" * 33, "😀" * 40, "abcabc" * 200, "哈" * 60,
    "<|endoftext|>", "a<|im_start|>b <|im_end|>", "<|begin_of_text|><|eot_id|>", "<s>[INST] x [/INST]</s>", "<unk>", "<pad>", "<0x0A>", "<|", "|>", "[INST]", "▁", "▁▁a ▁b", "Ġ Ċ ĉ", "<tool_call>\n{}\n</tool_call>", "<|fim_prefix|> x <|fim_suffix|>",
]
SCRIPTS = [
    (0x20, 0x7E), (0xA0, 0x17F), (0x250, 0x36F), (0x370, 0x3FF), (0x400, 0x52F), (0x530, 0x58F), (0x591, 0x5F4), (0x600, 0x6FF), (0x900, 0x97F),
    (0x980, 0x9FB), (0xB85, 0xBFA), (0xE01, 0xE5B), (0xE81, 0xEDF), (0xF00, 0xFD4), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x137C), (0x13A0, 0x13F5), (0x1780, 0x17F9),
    (0x1800, 0x1878), (0x1E00, 0x1EFF), (0x1F00, 0x1FFE), (0x2000, 0x206F), (0x2070, 0x209C), (0x20A0, 0x20BF), (0x2100, 0x218B), (0x2190, 0x23FF), (0x2460, 0x27BF), (0x2800, 0x28FF),
    (0x2E80, 0x2FD5), (0x3000, 0x30FF), (0x3105, 0x312F), (0x3131, 0x318E), (0x3200, 0x33FF), (0x3400, 0x4DB5), (0x4E00, 0x9FEF), (0xA000, 0xA4C6), (0xAC00, 0xD7A3), (0xE000, 0xF8FF),
    (0xF900, 0xFAD9), (0xFB00, 0xFB4F), (0xFB50, 0xFDFB), (0xFE20, 0xFE6B), (0xFF01, 0xFFEE), (0x10000, 0x100FA), (0x10330, 0x1034A), (0x10400, 0x1049D), (0x12000, 0x12399), (0x1D100, 0x1D1E8),
    (0x1D400, 0x1D7FF), (0x1F000, 0x1F02B), (0x1F300, 0x1F64F), (0x1F680, 0x1F6D5), (0x1F900, 0x1F9FF), (0x20000, 0x2A6D6), (0x2F800, 0x2FA1D), (0xE0000, 0xE007F),
]
WORDS = ("the of and to in is that for it with as was on be at by this have from or had not are but what all were when we there can an your which their said if do will each about how up "
         "hypothesis rule input output list element therefore undetermined object sphere rubber metal der die das und nicht ein eine auf für über größer schön le la les des un une été "
         "où garçon être el los las niño mañana está por qué não são você então de het een ja się że jest który я не что он на как это был город это мир привет и в за για και το είναι "
         "bir için çok değil và của không được ở thể").split()
CODE = ["def f(x):\n    return x + 1\n", "for (int i = 0; i < n; ++i) {\n\tsum += a[i];\n}\n", "#include <stdio.h>\n", "if x == None and y != 3:\n        pass", "{\"key\": [1, 2.5, null], \"b\": \"\\u00e9\"}",
        "SELECT * FROM t WHERE a >= 10 AND b LIKE '%x%';", "<div class=\"a b\">text</div>", "let v: Vec<u8> = s.as_bytes().to_vec();", "x = lambda *args, **kw: (args, kw)  # comment", "\\begin{align} a &= \\frac{1}{2} \\\\ \\end{align}",
        "const f = async () => { await g(); };", "git commit -m 'fix: typo'", "0123456789abcdef DEADBEEF", "printf(\"%d\\n\", x->y[3]);", "a\t\tb\n\n\n    c\r\n\r\nd", "@decorator\nclass A(B): ..."]


def one(rng):
    kind = rng.randrange(10)
    if kind == 0:  # one script
        lo, hi = rng.choice(SCRIPTS)
        return "".join(chr(rng.randint(lo, hi)) if rng.random() < 0.85 else rng.choice(" \n.,1") for _ in range(rng.randint(1, 60)))
    if kind == 1:  # anything of any script
        return "".join(chr(rng.randint(*rng.choice(SCRIPTS))) for _ in range(rng.randint(1, 40)))
    if kind == 2:  # words
        return "".join(rng.choice([w, w.upper(), w.capitalize(), w]) + rng.choice([" ", " ", " ", "  ", ", ", ". ", "\n", "'s ", "-", ""]) for w in rng.choices(WORDS, k=rng.randint(1, 40)))
    if kind == 3:  # lists of numbers
        xs = [rng.randrange(rng.choice([10, 100, 10 ** 9])) for _ in range(rng.randint(0, 20))]
        return f"{xs} -> {xs[::-1]}"
    if kind == 4:  # code
        return "".join(rng.choice(CODE) for _ in range(rng.randint(1, 6)))
    if kind == 5:  # white space and signs
        return "".join(rng.choice([" ", "  ", "\n", "\t", "\r\n", "\u00a0", "\u3000", "a", "B", "1", ".", "!", "'", "'s", "'T", "_", "/", "é", "\u0301", "語", "😀", "\u200d"]) for _ in range(rng.randint(1, 50)))
    if kind == 6:  # letters at random
        return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz    ABC012,.'\n") for _ in range(rng.randint(1, 120)))
    if kind == 7:  # a few letters: merges that overlap
        return "".join(rng.choice(rng.choice(["ab", "aba ", "01", "=-", "\n ", "的了"])) for _ in range(rng.randint(1, 200)))
    if kind == 8:  # pieces of the edges
        return "".join(rng.choice(EDGES)[rng.randrange(3):][:rng.randint(1, 30)] for _ in range(rng.randint(1, 5)))
    if rng.random() < 0.3:  # any character at all
        return "".join(chr(c) for c in (rng.randrange(1, 0x3100) for _ in range(rng.randint(1, 30))) if assigned(c))
    return rng.choice(EDGES) + rng.choice([" ", "", "\n"]) + rng.choice(WORDS)


def assigned(c):
    """Characters of Unicode 14 and older: newer ones are of no class in older tables."""
    import unicodedata
    return unicodedata.category(chr(c)) not in ("Cn", "Cs")


def strings():
    rng = random.Random(SEED)
    out = dict.fromkeys(EDGES)
    while len(out) < WANTED:
        s = one(rng)
        if all(assigned(ord(c)) for c in s):
            out[s] = None
    return list(out)


def ours(program, path, texts):
    send = b"".join(struct.pack("<i", len(b)) + b for b in (t.encode() for t in texts))
    got = subprocess.run([program, "--serve", path], input=send, stdout=subprocess.PIPE, check=True).stdout
    at, out = 0, []
    for _ in texts:
        n = struct.unpack_from("<i", got, at)[0]
        ids = list(struct.unpack_from(f"<{n}i", got, at + 4))
        at += 4 + 4 * n
        m = struct.unpack_from("<i", got, at)[0]
        out.append((ids, got[at + 4:at + 4 + m]))
        at += 4 + m
    return out


LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def huggingface(tok):
    """Special tokens never come from text, as in rd_tok_encode."""
    tok.encode_special_tokens = True
    return lambda texts: [(e.ids, tok.decode(e.ids, skip_special_tokens=False)) for e in tok.encode_batch(texts, add_special_tokens=False)]


def gguf_reference(path):
    """The byte-level tokenizer inside a GGUF, built anew for `tokenizers`."""
    from gguf import GGUFReader
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    fields = GGUFReader(path).fields
    get = lambda key: fields["tokenizer.ggml." + key].contents()
    tokens, types = get("tokens"), get("token_type")
    tok = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, [tuple(m.split(" ")) for m in get("merges")]))
    tok.add_special_tokens([AddedToken(t, normalized=False) for t, k in zip(tokens, types) if k == 3])
    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert get("pre") == "smollm"
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), level])
    tok.decoder = decoders.ByteLevel()
    return huggingface(tok)


def json_reference(path):
    from tokenizers import Tokenizer
    return huggingface(Tokenizer.from_file(path))


def ranks_reference(path):
    import base64
    from tiktoken import Encoding
    with open(path, "rb") as f:
        ranks = {base64.b64decode(b): int(i) for b, i in (line.split() for line in f)}
    e = Encoding("reference", pat_str=LLAMA3, mergeable_ranks=ranks, special_tokens={})
    return lambda texts: [(e.encode(t, disallowed_special=()), t) for t in texts]


def sentencepiece_reference(path):
    """Only U+2581, which is a blank in the vocabulary, does not come back as it was."""
    from sentencepiece import SentencePieceProcessor
    sp = SentencePieceProcessor(model_file=path)
    return lambda texts: [(sp.encode(t), t.replace("\u2581", " ")) for t in texts]


def reference(path):
    name = path.rsplit("/", 1)[-1]
    if name.endswith(".gguf"):
        return gguf_reference(path)
    if name.endswith(".json"):
        return json_reference(path)
    with open(path, "rb") as f:
        return sentencepiece_reference(path) if f.read(1) == b"\n" else ranks_reference(path)


def main():
    program = os.path.join(sys.argv[1] if len(sys.argv) > 1 else "build", "tests", "test_tokenizer_golden")
    smollm2 = os.environ.get("SMOLLM2", "models/SmolLM2-135M-Instruct.Q4_1.gguf")
    paths = sys.argv[2:] or os.environ.get("TOKENIZERS", "").split() + [smollm2] * os.path.exists(smollm2)
    texts = strings()
    if not paths:
        print("1..0 # SKIP no tokenizer's files (TOKENIZERS, SMOLLM2, inputs/get_smollm2.sh)")
        return 0
    failed = 0
    for k, path in enumerate(paths):
        wrong = 0
        for text, (want, decoded), (ids, back) in zip(texts, reference(path)(texts), ours(program, path, texts)):
            if ids == want and back.decode(errors="replace") == decoded:
                continue
            wrong += 1
            if wrong <= 5:
                print(f"# {text!r}: {ids} {back!r}, want {want}")
        failed += wrong > 0
        print(f"{'not ok' if wrong else 'ok'} {k + 1} - {'/'.join(path.split('/')[-2:])}: {wrong} of {len(texts)} strings differ")
    print(f"1..{len(paths)}")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
