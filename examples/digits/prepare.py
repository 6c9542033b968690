#!/usr/bin/env python3
"""Turn digits.csv.gz into folders of 8×8 grayscale PNG files, split in two tasks: digits 0–4 and digits 5–9.

    examples/digits/data/{zero_to_four,five_to_nine}/{train,eval}/<digit>/<row>.png

Needs nothing beyond Python's standard library. The same files come out on every machine.
"""
import csv
import gzip
import hashlib
import pathlib
import shutil
import struct
import sys
import tempfile
import zlib

HERE = pathlib.Path(__file__).resolve().parent
SIDE = 8
BRIGHTEST = 16
EVAL_EVERY = 4


def chunk(kind, body):
    """One PNG chunk: length, type, body, checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(pixels):
    """SIDE × SIDE values from 0 to BRIGHTEST as an 8-bit grayscale PNG."""
    return grayscale(bytes((value * 255 + BRIGHTEST // 2) // BRIGHTEST for value in pixels), SIDE)


def grayscale(levels, side):
    """side × side bytes as an 8-bit grayscale PNG."""
    rows = b"".join(b"\0" + levels[start : start + side] for start in range(0, side * side, side))
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    )


def read(path):
    """Yields (row number, pixels, digit) for every line."""
    with gzip.open(path, "rt", newline="") as text:
        for number, line in enumerate(csv.reader(text)):
            values = [int(value) for value in line]
            if len(values) != SIDE * SIDE + 1 or not all(0 <= value <= BRIGHTEST for value in values):
                sys.exit(f"{path}: line {number + 1}: expected {SIDE * SIDE} pixels from 0 to {BRIGHTEST} and a digit")
            yield number, values[:-1], values[-1]


def split(rows):
    """Yields (part, row): in the order of a hash of its pixels, every fourth row of a digit is for evaluation."""
    by_digit = {}
    for row in rows:
        by_digit.setdefault(row[2], []).append(row)
    for digit in sorted(by_digit):
        ordered = sorted(by_digit[digit], key=lambda row: (hashlib.sha256(bytes(row[1])).digest(), row[0]))
        for place, row in enumerate(ordered):
            yield "eval" if place % EVAL_EVERY == 0 else "train", row


def main():
    data, unfinished = HERE / "data", pathlib.Path(tempfile.mkdtemp(prefix="data.partial-", dir=HERE))
    counts = {}
    for part, (number, pixels, digit) in split(read(HERE / "digits.csv.gz")):
        task = "zero_to_four" if digit < 5 else "five_to_nine"
        folder = unfinished / task / part / str(digit)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:04}.png").write_bytes(png(pixels))
        counts[task, part] = counts.get((task, part), 0) + 1
    unfinished.chmod(0o755)
    try:
        # In one step, so that nobody sees a part; whoever comes second gives way.
        unfinished.rename(data)
    except OSError:
        shutil.rmtree(unfinished)
        if not data.is_dir():
            raise
    for (task, part), count in sorted(counts.items()):
        print(f"{task}/{part}: {count} images")


if __name__ == "__main__":
    main()
