#!/usr/bin/env python3
"""Make tests/golden/tokenizer_golden.json: ids of the Python package `tokenizers` as the reference.

    make tests TESTS=test_tokenizer_golden
    python3 tests/golden/make_tokenizer_golden.py build/tests/test_tokenizer_golden

Three tokenizers encode the same strings: "ours", trained by the test program and loaded here;
"theirs", trained here with our pattern; "byte_level", trained here with ByteLevel's own pattern.
Needs: pip install tokenizers (the version used stands in the file).
"""
import json
import os
import random
import subprocess
import sys
import tempfile

import tokenizers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "tokenizer_golden.json")
SPECIALS = ["<|pad|>", "<|bos|>", "<|eos|>"]
VOCAB = 600

EDGES = [
    "", " ", "  ", "   ", "\n", "\n\n", " \n ", "\t", "\r\n", "\r", "a\n\n\nb", "a \n b", "a  b", "a   b ",
    "[]", "[[]]", "[1]", "[3, 1, 4] -> [1, 4]", "[3,1,4]", "[ 3 , 1 , 4 ]", " 3 1 4", "3 1 4", "  3  1", "3, 1, 4\n",
    "[10, 99, 100, 12345]", "-1", "[-1, -20, -300]", "--5", "3-4", "3 - 4", "1,000,000", "3.14159", "1e-5", "x1y22z333",
    "Keep the first 2 elements; then put 5 at the end.", "keep  the\tfirst\n2 elements .",
    "['blue rubber sphere', 'brown rubber cylinder'] -> undetermined", "doesn't can't I'm we've they'll", "'quoted', \"too\"",
    "wug dax zup blicket -> RED BLUE", "schruieff voinn pioff mcnams siun", "snake_case CamelCase kebab-case", "Input: [1]\nOutput: [2]",
    "a+b=c; f(x) {return x[0];}", "(((]]]{{{", " ( [ { } ] ) ", "!!!???...", " !!! ???", "https://example.org/?q=1&r=2#x",
    "<|eos|>", "a<|pad|>b <|bos|>", "<|", "|>", "<|eos", "naïve café façade", "ÀÉÎÕÜ àéîõü ß", "e\u0301a\u0300 combining", "\u0301start",
    "Привет, мир! 1, 2", "你好，世界。3，4", "こんにちは 7", "안녕하세요 12", "مرحبا ٣, ٤", "नमस्ते १२३", "שלום 5", "ไทย ๑๒",
    "😀", " 😀😀 ", "👩‍👩‍👧‍👦 family", "🇩🇪🇫🇷 3", "👍🏽", "½ ² Ⅷ ⑫ 3", "a\u00a0b", "a\u2003b\u3000c", "a\u2028b\u2029c", "a\u0085b",
    "zero\u200bwidth", "\ufeffbom", "soft\u00adhyphen", "\u0001\u0002\u001f\u007f", "→ ⇒ ∀x∈S: x≥3", "𝒜𝓑𝟙𝟚", "\U0010ffff", "\ufffd", "\ue000",
    "a" * 70, "ab" * 64, "7" * 65, " " * 80 + "x", "-" * 100, "é" * 50, "the " * 40, "x\u0301" * 40,
]
ALPHABET = (list("0123456789") + [", ", " ", "  ", "\n", "[", "]", "-", " -> ", "; ", ".", "'", "_", "\t", "(", ")"]
            + ["the", "first", "Keep", "red", "blue", "wug", "a", "B", "zz", "é", "ß", "Ж", "語", "한", "ع", "٣", "😀", "\u0301", "\u00a0", "…", "→"])


def train_texts(rng):
    """What the project's texts look like, in small."""
    words = "red blue green yellow metal rubber cube sphere cylinder on off undetermined".split()
    rules = ["Keep the first %d elements; then put %d at the end.", "Remove every element below %d; then add %d to each.",
             "If the list has %d elements, answer [%d]; else the list."]
    out = []
    for i in range(400):
        xs = [rng.randrange(10 if i % 2 else 100) for _ in range(rng.randint(1, 9))]
        out.append([f"{xs} -> {xs[:2]}", "".join(f" {x}" for x in xs), " ".join(rng.choice(words) for _ in xs) + "\n",
                    rng.choice(rules) % (rng.randrange(10), rng.randrange(100)), "naïve café → 你好 😀"][i % 5])
    # Long words of two letters: many merges that overlap, more than one way to each token.
    return out + ["".join(rng.choice("ab") for _ in range(rng.randint(20, 90))) for _ in range(40)]


def strings(rng):
    out = list(EDGES) + ["".join(rng.choice("ab") for _ in range(n)) for n in range(40, 240, 10)]
    out += ["a" * n + "b" * 9 for n in range(60, 70)]
    while len(out) < 360:
        out.append("".join(rng.choice(ALPHABET) for _ in range(rng.randint(1, 40))))
    return out


def train_theirs(texts, pre):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=SPECIALS, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return json.loads(tok.to_str())


def train_ours(program, texts):
    with tempfile.TemporaryDirectory() as d:
        with open(f"{d}/in.json", "w") as f:
            json.dump({"train": texts, "vocab": VOCAB}, f)
        subprocess.run([program, "--train", f"{d}/in.json", f"{d}/out.json"], check=True)
        with open(f"{d}/out.json", encoding="utf-8") as f:
            return json.load(f)


def encode(spec, texts):
    tok = Tokenizer.from_str(json.dumps(spec))
    tok.encode_special_tokens = True  # text never becomes a special token, as in rd_tok_encode
    assert [tok.token_to_id(s) for s in SPECIALS] == [0, 1, 2]
    ids = [tok.encode(t, add_special_tokens=False).ids for t in texts]
    assert [tok.decode(i, skip_special_tokens=False) for i in ids] == texts
    return ids


def main():
    rng = random.Random(20)
    texts, samples = train_texts(rng), strings(rng)
    ours = train_ours(sys.argv[1], texts)
    pattern = ours["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]
    split = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"),
                                     pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    specs = {"ours": ours, "theirs": train_theirs(texts, split),
             "byte_level": train_theirs(texts, pre_tokenizers.ByteLevel(add_prefix_space=False))}
    doc = {"versions": {"tokenizers": tokenizers.__version__, "python": sys.version.split()[0]},
           "vocab": VOCAB, "train": texts, "strings": samples, "tokenizers": specs,
           "ids": {name: encode(spec, samples) for name, spec in specs.items()}}
    with open(OUT, "w", encoding="utf-8") as f:
        f.write("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}"
                                    for k, v in doc.items()) + "\n}\n")
    print(f"{OUT}: {len(samples)} strings, {os.path.getsize(OUT)} bytes")


if __name__ == "__main__":
    main()
