#!/usr/bin/env python3
"""Make tests/golden/dtype_golden.txt: 16-bit floats and quantised blocks by the reference.

    pip install gguf==0.19.0 numpy==2.4.6 && python3 make_dtype_golden.py

Lines, all numbers in hexadecimal:
    crc NAME CRC            IEEE CRC-32 of all results of a conversion, NaNs as 7fc00000 or 7e00 or 7fc0
    block FORMAT BYTES X    one block as it lies in a file, and its float32 numbers, NaNs as 7fc00000
float32 inputs of the narrowing conversions are (high << 16) + low for all 65536 high and the LOWS.
"""
import os
import zlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Q

HERE = os.path.dirname(os.path.abspath(__file__))
LOWS = [0x0000, 0x0001, 0x0FFF, 0x1000, 0x1001, 0x2FFF, 0x3000, 0x3001, 0x7FFF, 0x8000, 0x8001, 0xFFFF]
FORMATS = "Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q4_K Q5_K Q6_K".split()


def bits(x):
    """float32 numbers as integers, NaNs as one of them."""
    b = x.astype(np.float32, copy=False).view(np.uint32).copy()
    b[(b & 0x7FFFFFFF) > 0x7F800000] = 0x7FC00000
    return b


def crc(a):
    return f"{zlib.crc32(a.tobytes()):08x}"


def conversions():
    every = np.arange(65536, dtype=np.uint16)
    with np.errstate(all="ignore"):
        yield "f16_to_f32", crc(bits(every.view(np.float16).astype(np.float32)))
        yield "bf16_to_f32", crc(bits(gguf.dequantize(every.view(np.uint8).reshape(1, -1), Q.BF16).ravel()))
        x = (every.astype(np.uint32)[:, None] << 16 | np.array(LOWS, dtype=np.uint32)).ravel().view(np.float32)
        half = x.astype(np.float16).view(np.uint16).copy()
        half[np.isnan(x)] = 0x7E00
        yield "f32_to_f16", crc(half)
        brain = gguf.quantize(x.reshape(1, -1), Q.BF16).view(np.uint16).ravel().copy()
        brain[np.isnan(x)] = 0x7FC0
        yield "f32_to_bf16", crc(brain)


def blocks(name, rng):
    """Any bytes make a block.  Scales: two random ones of moderate size, a subnormal, the largest, whatever."""
    size = gguf.GGML_QUANT_SIZES[Q[name]][1]
    for scale in (None, None, 0x0003, 0x7BFF, -1):
        raw = rng.integers(0, 256, size, dtype=np.uint8)
        places = [size - 2] if name == "Q6_K" else [0, 2] if name[-1] in "1K" else [0]
        for at in places:
            if scale != -1:
                value = np.float16(rng.normal() * 0.05).view(np.uint16) if scale is None else np.uint16(scale)
                raw[at:at + 2] = np.frombuffer(value.tobytes(), np.uint8)
        yield raw


def main():
    rng = np.random.default_rng(20250414)
    with open(os.path.join(HERE, "dtype_golden.txt"), "w") as f:
        f.write(f"# make_dtype_golden.py with gguf 0.19.0, numpy {np.__version__}\n")
        for name, value in conversions():
            f.write(f"crc {name} {value}\n")
        for name in FORMATS:
            for raw in blocks(name, rng):
                with np.errstate(all="ignore"):
                    x = gguf.dequantize(raw.reshape(1, -1), Q[name]).ravel()
                f.write(f"block {name} {raw.tobytes().hex()} {''.join(f'{b:08x}' for b in bits(x))}\n")


main()
