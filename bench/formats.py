#!/usr/bin/env python3
"""What each wire format costs in accuracy: examples/sections, the same seeds in each format, for several numbers of shards a step.

The more shards a step has, the more often its sums are rounded on their way up the tree. Each run's result is kept in
runs/bench-formats, so a bench that was interrupted goes on. The table goes to its section of bench/RESULTS.md. Bits don't depend
on the number of workers, so two on this machine stand for any number.

SHARDS="2,8,32" SEEDS="1,2,3" WIRES="f32,bf16,int8" STEPS=300. PATH decides the programs.
"""
import itertools
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys

import results

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUNS = pathlib.Path("runs/bench-formats")
FOUND = RUNS / "found.json"
RUN_FILE = "examples/sections/run.yaml"
ROWS_PER_STEP = 32
SHARDS = [int(number) for number in os.environ.get("SHARDS", "2,8,32").split(",")]
SEEDS = [int(number) for number in os.environ.get("SEEDS", "1,2,3").split(",")]
WIRES = os.environ.get("WIRES", "f32,bf16,int8").split(",")
STEPS = int(os.environ.get("STEPS", 300))
EXACT = "f32"


def train(shards, seed, wire):
    """Accuracy and loss on the evaluation rows after the last step."""
    output = RUNS / "run"
    shutil.rmtree(output, ignore_errors=True)
    settings = {
        "output_dir": output, "max_steps": STEPS, "eval_steps": STEPS, "save_strategy": "no", "seed": seed, "wire": wire,
        "shards_per_step": shards, "global_batch_size": ROWS_PER_STEP, "per_device_train_batch_size": ROWS_PER_STEP // shards,
    }
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    with open(RUNS / "log", "w", encoding="utf-8") as log:
        command = ["headstart", "train", RUN_FILE, "--workers", "2", *sets]
        if subprocess.run(command, stdout=log, stderr=log).returncode:
            sys.exit(f"headstart: a run failed: see {RUNS}/log")
    with open(output / "final/metrics.jsonl", encoding="utf-8") as lines:
        last = [line for line in map(json.loads, lines) if "eval_accuracy" in line][-1]
    return [last["eval_accuracy"], last["eval_loss"]]


def name(shards, seed, wire):
    return f"V={shards} seed={seed} wire={wire} steps={STEPS}"


def cell(values, digits):
    """A mean with the range over seeds."""
    return f"{statistics.mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def report(found):
    rows = []
    for shards, wire in itertools.product(SHARDS, WIRES):
        own = [found[name(shards, seed, wire)] for seed in SEEDS]
        exact = [found[name(shards, seed, EXACT)] for seed in SEEDS]
        prices = ["", ""]
        if wire != EXACT:
            changes = [[mine[part] - theirs[part] for mine, theirs in zip(own, exact)] for part in (0, 1)]
            prices = [f"{statistics.mean(changes[0]):+.4f}", f"{statistics.mean(changes[1]):+.4f}"]
        rows.append([shards, wire, cell([one[0] for one in own], 4), prices[0], cell([one[1] for one in own], 4), prices[1]])
    header = ["V", "wire", "accuracy", "change", "loss", "change"]
    results.replace("formats", f"""## What a narrow wire costs in accuracy

{results.written_by("make bench-formats")}

MiniLM on `examples/sections`, {STEPS} steps of {ROWS_PER_STEP} rows in V shards, evaluated after the last on all evaluation rows: means over the seeds
{", ".join(map(str, SEEDS))}, in brackets the range over them. The changes are means of what the format changes at the same seed.

{results.table(header, rows)}
""")


def main():
    os.chdir(ROOT)
    RUNS.mkdir(parents=True, exist_ok=True)
    found = json.loads(FOUND.read_text(encoding="utf-8")) if FOUND.exists() else {}
    for shards, seed, wire in itertools.product(SHARDS, SEEDS, WIRES):
        key = name(shards, seed, wire)
        if key not in found:
            found[key] = train(shards, seed, wire)
            FOUND.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(f"{key}: accuracy {found[key][0]:.4f}, loss {found[key][1]:.4f}", file=sys.stderr, flush=True)
    report(found)


if __name__ == "__main__":
    main()
