#!/usr/bin/env python3
"""Make the model files of this directory: two good ones, and one broken one per promise of the readers.

    python3 tests/corpus/make_models.py

Only the standard library.  tests/test_safetensors.c and tests/test_gguf.c say what each must give; the fuzz
programs begin with the good ones.
"""
import json
import os
import random
import struct

HERE = os.path.dirname(os.path.abspath(__file__))


def save(name, data):
    with open(os.path.join(HERE, name), "wb") as f:
        f.write(data)


# ---------------------------------------------------------------- safetensors

def f32(*x):
    return struct.pack(f"<{len(x)}f", *x)


def pack(header, data, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def one(dtype="F32", shape=(2, 2), offsets=(0, 16)):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def safetensors():
    matrix = f32(*[(r * 64 + c) / 8 for r in range(37) for c in range(64)])
    parts = [("matrix", "F32", [37, 64], matrix), ("vector", "F32", [5], f32(1, -2, 3.5, 1e-40, float("inf"))),
             ("ids", "I64", [2], struct.pack("<2q", 1, -1)), ("none", "F32", [0, 7], b""),
             ("half", "F16", [2, 3], struct.pack("<6e", 0.5, -1, 65504, 6e-8, 2, 3)),
             ("brain", "BF16", [2, 3], struct.pack("<6H", 0x3F80, 0xC000, 0x7F80, 0x0001, 0x4049, 0)),
             ("scalar", "F16", [], struct.pack("<e", 7)), ("cube", "U8", [1, 2, 3], bytes(6))]
    header, data = {"__metadata__": {"format": "pt", "note": "Grüße"}}, b""
    for name, dtype, shape, raw in parts:
        header[name] = one(dtype, shape, (len(data), len(data) + len(raw)))
        data += raw
    save("good.safetensors", pack(header, data))

    a, d = one(), f32(1, 2, 3, 4)
    bad = {
        "short": b"\x08\0\0",
        "length_huge": pack({"a": a}, d, (1 << 63) + 5),
        "length_past_end": pack({"a": a}, d, 400),
        "header_list": pack([1], b""),
        "header_not_json": pack(b"{\"a\": ", b""),
        "header_not_utf8": pack(b"{\"a\xff\": {}}", b""),
        "tensor_twice": pack(b'{"a": ' + json.dumps(a).encode() + b', "a": ' + json.dumps(a).encode() + b"}", d),
        "tensor_number": pack({"a": 3}, d),
        "name_empty": pack({"": a}, d),
        "name_long": pack({"n" * 1025: a}, d),
        "dtype_unknown": pack({"a": one("F33")}, d),
        "dtype_block": pack({"a": one("Q8_0")}, d),
        "dtype_number": pack({"a": one(32)}, d),
        "dtype_missing": pack({"a": {"shape": [4], "data_offsets": [0, 16]}}, d),
        "shape_text": pack({"a": one(shape="22")}, d),
        "shape_negative": pack({"a": one(shape=(-2, -2))}, d),
        "shape_fraction": pack({"a": one(shape=(1.5, 2))}, d),
        "shape_rank": pack({"a": one(shape=(1,) * 9)}, d),
        "shape_overflow": pack({"a": one(shape=(1 << 40, 1 << 40))}, d),
        "shape_bits_overflow": pack({"a": one(shape=(1 << 40, 1 << 22))}, d),
        "shape_empty_huge": pack({"a": one(shape=(0, 1 << 52), offsets=(0, 0)), "b": a}, d),
        "shape_too_big": pack({"a": one(shape=(2, 3))}, d),
        "offsets_one": pack({"a": one(offsets=(0,))}, d),
        "offsets_three": pack({"a": one(offsets=(0, 16, 16))}, d),
        "offsets_reversed": pack({"a": one(offsets=(16, 0))}, d),
        "offsets_outside": pack({"a": one(offsets=(8, 24))}, d),
        "offsets_huge": pack({"a": one(offsets=(0, 1 << 60))}, d),
        "offsets_missing": pack({"a": {"dtype": "F32", "shape": [4]}}, d),
        "overlap": pack({"a": one(offsets=(0, 16)), "b": one(offsets=(8, 24))}, d + d),
        "gap": pack({"a": one(offsets=(0, 16)), "b": one(offsets=(20, 36))}, d + d + f32(0)),
        "rest": pack({"a": a}, d + b"x"),
        "metadata_number": pack({"__metadata__": {"step": 3}, "a": a}, d),
        "metadata_list": pack({"__metadata__": [], "a": a}, d),
        "deep": pack(b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}", d),
    }
    for name, data in bad.items():
        save(f"bad_{name}.safetensors", data)


# ---------------------------------------------------------------- GGUF

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
CODES = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q", I64: "q", F64: "d"}
SIZES = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 12: (256, 144),
         13: (256, 176), 14: (256, 210), 23: (256, 136), 27: (1, 8), 30: (1, 2)}


def string(s):
    raw = s if isinstance(s, bytes) else s.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(kind, v):
    if kind == STRING:
        return string(v)
    if kind == ARRAY:
        element, values = v
        return struct.pack("<IQ", element, len(values)) + b"".join(value(element, x) for x in values)
    return struct.pack("<" + CODES[kind], v)


def key(name, kind, v):
    return string(name) + struct.pack("<I", kind) + (v if isinstance(v, bytes) and kind != STRING else value(kind, v))


def entry(name, ne, kind, offset):
    return string(name) + struct.pack(f"<I{len(ne)}QIQ", len(ne), *ne, kind, offset)


def gguf(keys, entries, data, version=3, magic=b"GGUF", counts=None, align=32):
    n_tensors, n_keys = counts or (len(entries), len(keys))
    head = magic + struct.pack("<IQQ", version, n_tensors, n_keys) + b"".join(keys) + b"".join(entries)
    return head + bytes(-len(head) % align if data else 0) + data


def place(tensors, align=32):
    """Entries and data of (name, ne, kind, bytes)."""
    entries, data = [], b""
    for name, ne, kind, raw in tensors:
        data += bytes(-len(data) % align)
        entries.append(entry(name, ne, kind, len(data)))
        data += raw
    return entries, data


ARCH = key("general.architecture", STRING, "llama")
HEADS = [key("llama.attention.head_count", U32, 2), key("llama.attention.head_count_kv", U32, 1)]


def good_gguf():
    rng = random.Random(7)
    keys = [ARCH, *HEADS, key("general.alignment", U32, 64), key("t.u8", U8, 200), key("t.i8", I8, -100), key("t.u16", U16, 60000),
            key("t.i16", I16, -30000), key("t.u32", U32, 4000000000), key("t.i32", I32, -2000000000), key("t.f32", F32, 0.5),
            key("t.bool", BOOL, True), key("t.string", STRING, "Grüße"), key("t.empty", STRING, ""), key("t.u64", U64, (1 << 64) - 1),
            key("t.i64", I64, -(1 << 62)), key("t.f64", F64, 1e300), key("t.strings", ARRAY, (STRING, ["a", "", b"\xff\0b", "dd"])),
            key("t.ints", ARRAY, (I16, [1, -2, 3])), key("t.reals", ARRAY, (F32, [0.25, -1])), key("t.bools", ARRAY, (BOOL, [True, False])),
            key("t.nothing", ARRAY, (U32, [])), key("t.nested", ARRAY, (ARRAY, [(U8, [1, 2]), (STRING, ["x"]), (ARRAY, [(F64, [2.5])])]))]
    tensors = [("norm", [5], 0, f32(1, 2, 3, 4, 5)), ("half", [3, 2], 1, struct.pack("<6e", 0.5, -1, 65504, 6e-8, 2, 3)),
               ("brain", [3, 2], 30, struct.pack("<6H", 0x3F80, 0xC000, 0x7F80, 0x0001, 0x4049, 0)),
               ("ids", [2], 27, struct.pack("<2q", 1, -1)), ("none", [0, 3], 0, b""),
               ("blk.0.attn_q.weight", [3, 16], 0, f32(*range(48))), ("blk.0.attn_k.weight", [3, 8], 0, f32(*range(24))),
               ("blk.0.attn_q.bias", [16], 0, f32(*range(16))), ("blk.0.attn_v.weight", [3, 8], 0, f32(*range(24))),
               ("iq", [256, 1], 23, bytes(136))]
    for kind, name in ((8, "q8_0"), (2, "q4_0"), (3, "q4_1"), (6, "q5_0"), (7, "q5_1"), (12, "q4_k"), (13, "q5_k"), (14, "q6_k")):
        block, size = SIZES[kind]
        columns = 96 if block == 32 else 256
        raw = bytearray(rng.randrange(256) for _ in range(columns // block * size * 5))
        for at in range(0, len(raw), size):  # scales that are numbers
            raw[at + size - 1 if kind == 14 else at + 1] &= 0x3F
            raw[at + 3] &= 0x3F
        tensors.append((name, [columns, 5], kind, bytes(raw)))
    save("good.gguf", gguf(keys, *place(tensors, 64), align=64))


def bad_gguf():
    a = entry("a", [4], 0, 0)
    d = f32(1, 2, 3, 4)
    q = lambda heads, ne=(3, 16): gguf([ARCH, *heads], [entry("blk.0.attn_q.weight", ne, 0, 0)], f32(*range(64)))
    bad = {
        "short": b"GGUF\x03\0",
        "magic": gguf([], [a], d, magic=b"GGML"),
        "version_1": gguf([], [a], d, version=1),
        "version_4": gguf([], [a], d, version=4),
        "big_endian": gguf([], [a], d, version=3 << 24),
        "tensors_huge": gguf([], [a], d, counts=(1 << 60, 0)),
        "tensors_more": gguf([], [a], b"", counts=(2, 0)),
        "keys_huge": gguf([], [a], d, counts=(1, 1 << 60)),
        "key_length": gguf([struct.pack("<Q", (1 << 64) - 1) + b"key"], [a], d),
        "key_twice": gguf([ARCH, ARCH], [a], d),
        "key_empty": gguf([key("", U8, 1)], [a], d),
        "key_not_utf8": gguf([key(b"k\xc0\x80", U8, 1)], [a], d),
        "value_type": gguf([key("k", 13, b"")], [a], d),
        "string_length": gguf([key("k", STRING, "x")[:-9] + struct.pack("<Q", 1 << 63)], [a], d),
        "array_huge": gguf([key("k", ARRAY, struct.pack("<IQ", U8, 1 << 62))], [a], d),
        "array_strings_huge": gguf([key("k", ARRAY, struct.pack("<IQ", STRING, 60))], [a], d),
        "array_type": gguf([key("k", ARRAY, struct.pack("<IQ", 99, 1))], [a], d),
        "array_deep": gguf([key("k", ARRAY, struct.pack("<IQ", ARRAY, 1) * 30 + struct.pack("<IQB", U8, 1, 1))], [a], d),
        "alignment_0": gguf([key("general.alignment", U32, 0)], [a], d),
        "alignment_48": gguf([key("general.alignment", U32, 48)], [a], d),
        "alignment_text": gguf([key("general.alignment", STRING, "32")], [a], d),
        "name_empty": gguf([], [entry("", [4], 0, 0)], d),
        "name_nul": gguf([], [entry("a\0b", [4], 0, 0)], d),
        "name_not_utf8": gguf([], [entry(b"a\xed\xa0\x80", [4], 0, 0)], d),
        "name_long": gguf([], [entry("n" * 1025, [4], 0, 0)], d),
        "tensor_twice": gguf([], [a, entry("a", [4], 0, 32)], d + bytes(16) + d),
        "rank": gguf([], [entry("a", [1] * 5, 0, 0)], d),
        "rank_huge": gguf([], [string("a") + struct.pack("<IQ", 1 << 31, 4)], d),
        "dim_huge": gguf([], [entry("a", [1 << 63], 0, 0)], d),
        "dims_overflow": gguf([], [entry("a", [1 << 32, 1 << 31], 0, 0)], d),
        "dims_many": gguf([], [entry("a", [1 << 40, 1 << 21], 0, 0)], d),
        "dims_empty_huge": gguf([], [entry("a", [1 << 62, 0], 1, 0)], d),
        "type_unknown": gguf([], [entry("a", [4], 4, 0)], d),
        "type_huge": gguf([], [entry("a", [4], (1 << 32) - 1, 0)], d),
        "blocks": gguf([], [entry("a", [33], 8, 0)], bytes(64)),
        "offset_unaligned": gguf([], [entry("a", [4], 0, 4)], d + d),
        "offset_outside": gguf([], [entry("a", [4], 0, 1 << 40)], d),
        "offset_overflow": gguf([], [entry("a", [4], 0, (1 << 64) - 32)], d),
        "truncated_data": gguf([], [a], d[:-1]),
        "overlap": gguf([], [entry("a", [16], 0, 0), entry("b", [4], 0, 32)], d * 4),
        "heads_missing": q([]),
        "heads_uneven": q([key("llama.attention.head_count", U32, 3)]),
        "heads_odd": q([key("llama.attention.head_count", U32, 16)]),
        "heads_zero_rows": q(HEADS, (3, 0)),
    }
    for name, data in bad.items():
        save(f"bad_{name}.gguf", data)


safetensors()
good_gguf()
bad_gguf()
