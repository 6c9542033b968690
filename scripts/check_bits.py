#!/usr/bin/env python3
"""Prints a table of the runs that sections_bits.sh made, and fails unless they are alike and different where they must be."""
import hashlib
import json
import pathlib
import sys

SAME = ["workers-1", "workers-2", "workers-3", "workers-5"]
OTHER = "shards-4"
FILES = ["model.safetensors", "ledger.jsonl"]
LEAST_SHARE = 0.10


def sha256(path):
    total = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            total.update(block)
    return total.hexdigest()


def shares(final):
    """Each worker's share of the shards that were accepted."""
    shards = [worker["shards"] for worker in json.loads((final / "workers.json").read_text())["workers"]]
    return sorted((count / max(1, sum(shards)) for count in shards), reverse=True)


def main():
    runs = pathlib.Path(sys.argv[1])
    problems, hashes = [], {}
    print(f"{'run':<11} {'model.safetensors':<18} {'ledger.jsonl':<18} shards per worker")
    for name in SAME + [OTHER]:
        final = runs / name / "final"
        hashes[name] = [sha256(final / file) for file in FILES]
        parts = shares(final)
        print(f"{name:<11} {hashes[name][0][:16]:<18} {hashes[name][1][:16]:<18} {' '.join(f'{p:.0%}' for p in parts)}")
        if name in SAME and len(parts) != int(name.rpartition("-")[2]):
            problems.append(f"{name}: {len(parts)} workers delivered shards")
        if min(parts) < LEAST_SHARE:
            problems.append(f"{name}: a worker delivered {min(parts):.1%} of the shards, less than {LEAST_SHARE:.0%}")
    for place, file in enumerate(FILES):
        if len({hashes[name][place] for name in SAME}) != 1:
            problems.append(f"{file} depends on the number of workers")
        if hashes[OTHER][place] == hashes[SAME[0]][place]:
            problems.append(f"{file} is the same for another shards_per_step, so comparing it shows nothing")
    if problems:
        sys.exit("\n".join(f"headstart: {problem}" for problem in problems))
    print("Alike, bit for bit, whatever the number of workers.")


if __name__ == "__main__":
    main()
