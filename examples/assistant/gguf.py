"""Reads the part of the GGUF format (llama.cpp's files of weights) that SmolLM2's file uses.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Numbers are little-endian.
"""
import math
import mmap
import struct

import numpy

# Metadata types by number; 8 is a string, 9 a list.
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, LIST = 8, 9
DEFAULT_ALIGNMENT = 32
BLOCK = 32


def f32(blocks):
    """[bytes] u8 -> f32"""
    return blocks.view("<f4").reshape(-1)


def q8_0(blocks):
    """[blocks × 34] u8 -> f32: 32 values are scale × int8."""
    blocks = blocks.reshape(-1, 2 + BLOCK)
    scale = blocks[:, :2].copy().view("<f2").astype(numpy.float32)
    return (scale * blocks[:, 2:].view(numpy.int8)).reshape(-1)


def q4_1(blocks):
    """[blocks × 20] u8 -> f32: 32 values are scale × nibble + minimum. The low nibbles come first."""
    blocks = blocks.reshape(-1, 4 + BLOCK // 2)
    bounds = blocks[:, :4].copy().view("<f2").astype(numpy.float32)
    nibbles = numpy.concatenate((blocks[:, 4:] & 15, blocks[:, 4:] >> 4), axis=1)
    return (bounds[:, :1] * nibbles + bounds[:, 1:]).reshape(-1)


# Of a tensor's type by number: bytes of a block, values of a block, decoder.
TENSORS = {0: (4, 1, f32), 3: (4 + BLOCK // 2, BLOCK, q4_1), 8: (2 + BLOCK, BLOCK, q8_0)}


class Gguf:
    """`metadata` is {key: value}; `tensors` is {name: (shape, outermost dimension first; type; offset in the file)}."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.at = 0
        if self.bytes[:4] != b"GGUF" or struct.unpack_from("<I", self.bytes, 4)[0] != 3:
            raise ValueError(f"{path} is not a GGUF file of version 3")
        self.at = 8
        tensors, keys = self.scalar("Q"), self.scalar("Q")
        self.metadata = {}
        for _ in range(keys):
            key = self.string()
            self.metadata[key] = self.value(self.scalar("I"))
        found = [self.tensor_header() for _ in range(tensors)]
        alignment = self.metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        data = math.ceil(self.at / alignment) * alignment
        self.tensors = {name: (shape, kind, data + offset) for name, shape, kind, offset in found}

    def scalar(self, code):
        (value,) = struct.unpack_from(f"<{code}", self.bytes, self.at)
        self.at += struct.calcsize(f"<{code}")
        return value

    def string(self):
        length = self.scalar("Q")
        self.at += length
        return self.bytes[self.at - length : self.at].decode("utf-8")

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == LIST:
            kind, length = self.scalar("I"), self.scalar("Q")
            return [self.value(kind) for _ in range(length)]
        return self.scalar(SCALARS[kind])

    def tensor_header(self):
        name = self.string()
        shape = [self.scalar("Q") for _ in range(self.scalar("I"))][::-1]
        return name, shape, self.scalar("I"), self.scalar("Q")

    def tensor(self, name):
        """The tensor's values, f32, in its shape."""
        shape, kind, offset = self.tensors[name]
        if kind not in TENSORS:
            raise ValueError(f"tensor {name} has type {kind}, expected one of {sorted(TENSORS)}")
        block_bytes, block_values, decode = TENSORS[kind]
        size = math.prod(shape) // block_values * block_bytes
        return decode(numpy.frombuffer(self.bytes, numpy.uint8, size, offset)).reshape(shape)
