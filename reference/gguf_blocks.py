"""GGUF's blocks as llama.cpp packs and unpacks them.

    goldens/gguf/blocks.gguf         two rows of each type: packed by ggml, and random bytes
    goldens/gguf/values.safetensors  what ggml unpacks them to, and `source`, what was packed

Needs numpy and llama-cpp-python, whose library has ggml's functions.
"""

import ctypes
import json
import struct
from pathlib import Path

import llama_cpp
import numpy as np

ROOT = Path(__file__).resolve().parent.parent / "goldens" / "gguf"
SHAPE = (2, 256)

# Number of the type, numbers and bytes of a block, where its f16 scales stand.
TYPES = {
    "Q4_0": (2, 32, 18, [0]),
    "Q4_1": (3, 32, 20, [0, 2]),
    "Q5_0": (6, 32, 22, [0]),
    "Q5_1": (7, 32, 24, [0, 2]),
    "Q8_0": (8, 32, 34, [0]),
    "Q2_K": (10, 256, 84, [80, 82]),
    "Q3_K": (11, 256, 110, [108]),
    "Q4_K": (12, 256, 144, [0, 2]),
    "Q5_K": (13, 256, 176, [0, 2]),
    "Q6_K": (14, 256, 210, [208]),
    "IQ4_NL": (20, 32, 18, [0]),
    "IQ4_XS": (23, 256, 136, [0]),
}

LIBRARY = next((Path(llama_cpp.__file__).parent / "lib").glob("libggml-base.so"))
GGML = ctypes.CDLL(str(LIBRARY))
GGML.ggml_quantize_chunk.restype = ctypes.c_size_t


def packed(kind, values):
    number, block, size, _ = TYPES[kind]
    to = np.zeros(values.size // block * size, np.uint8)
    i64 = ctypes.c_int64
    n = GGML.ggml_quantize_chunk(
        number, values.ctypes.data_as(ctypes.c_void_p), to.ctypes.data_as(ctypes.c_void_p),
        i64(0), i64(SHAPE[0]), i64(SHAPE[1]), None,
    )  # fmt: skip
    assert n == to.size
    return to


def arbitrary(kind, generator):
    _, block, size, scales = TYPES[kind]
    n = SHAPE[0] * SHAPE[1] // block
    blocks = generator.integers(0, 256, (n, size), np.uint8)
    for at in scales:
        blocks[:, at + 1] &= 0xBB  # finite
    return blocks.reshape(-1)


def unpacked(kind, blocks):
    values = np.zeros(SHAPE, np.float32)
    name = kind.replace("IQ", "iq").replace("Q", "q")
    if kind.startswith("IQ"):
        name = kind.lower()
    dequantize = getattr(GGML, "dequantize_row_" + name)
    dequantize(
        blocks.ctypes.data_as(ctypes.c_void_p),
        values.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_int64(values.size),
    )
    return values


def text(string):
    return struct.pack("<Q", len(string)) + string.encode()


def gguf(tensors):
    head, body = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), 0)], b""
    for name, (number, blocks) in tensors.items():
        info = struct.pack("<IQQIQ", 2, SHAPE[1], SHAPE[0], number, len(body))
        head += [text(name), info]
        body += bytes(blocks) + bytes(-len(blocks) % 32)
    head = b"".join(head)
    return head + bytes(-len(head) % 32) + body


def safetensors(tensors):
    head, body = {}, b""
    for name, values in tensors.items():
        data = values.tobytes()
        head[name] = {
            "dtype": "F32",
            "shape": list(values.shape),
            "data_offsets": [len(body), len(body) + len(data)],
        }
        body += data
    head = json.dumps(head).encode()
    head += b" " * (-len(head) % 8)
    return struct.pack("<Q", len(head)) + head + body


def main():
    generator = np.random.default_rng(20240)
    values = (generator.standard_normal(SHAPE) * 0.1).astype(np.float32)
    blocks, want = {}, {"source": values}
    for kind, (number, *_) in TYPES.items():
        for name, data in (
            (f"{kind}.packed", packed(kind, values)),
            (f"{kind}.random", arbitrary(kind, generator)),
        ):
            blocks[name] = (number, data)
            want[name] = unpacked(kind, data)
    ROOT.mkdir(exist_ok=True)
    (ROOT / "blocks.gguf").write_bytes(gguf(blocks))
    (ROOT / "values.safetensors").write_bytes(safetensors(want))


if __name__ == "__main__":
    main()
