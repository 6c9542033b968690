#!/usr/bin/env python3
"""Compares the memory that `headstart plan` predicts with what eight small runs use at most (VmHWM of each process).

Each case is a run file and what is changed in it. The worker that used most counts. LIMIT (15) is the error, in per cent,
above which the exit code is 1; ONLY=TEXT runs the cases with TEXT in their names.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIMIT = float(os.environ.get("LIMIT", 15))
STEPS = 4
DIGITS, SECTIONS = "examples/digits/scratch.yaml", "examples/sections/run.yaml"
TINY = {
    "init": "random",
    "model_overrides.hidden_size": 64,
    "model_overrides.num_hidden_layers": 2,
    "model_overrides.num_attention_heads": 4,
    "model_overrides.intermediate_size": 128,
}


def batch(micro_batch, total, shards):
    return {"per_device_train_batch_size": micro_batch, "global_batch_size": total, "shards_per_step": shards}


CASES = {
    "digits, 8 shards, 2 workers": (DIGITS, 2, {}),
    "digits, batch 256 in 1 shard": (DIGITS, 1, batch(256, 256, 1)),
    "tiny BERT, 512 tokens, batch 16": (SECTIONS, 1, {**TINY, **batch(16, 32, 2), "sequence_len": 512}),
    "MiniLM, batch 4 in 8 shards": (SECTIONS, 1, {}),
    "MiniLM, 8 shards, 3 workers, many commits": (SECTIONS, 3, {"save_steps": 1, "max_steps": 6}),
    "MiniLM, batch 32, 1 shard, 2 threads": (SECTIONS, 1, {**batch(32, 32, 1), "threads_per_worker": 2}),
    "MiniLM, batch 64, 2 shards, 32 tokens": (SECTIONS, 2, {**batch(64, 128, 2), "sequence_len": 32}),
    "MiniLM, random, batch 8, 16 shards, SGD": (SECTIONS, 2, {**batch(8, 128, 16), "init": "random", "optim": "sgd"}),
}


def arguments(changes):
    return [part for key, value in changes.items() for part in ("--set", f"{key}={json.dumps(value)}")]


def predicted(run_file, workers, sets):
    command = ["headstart", "plan", run_file, "--workers", str(workers), *sets, "--format", "json"]
    command += ["--samples-per-second", "1", "--bandwidth", "1e9"]
    plan = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return plan["memory"]["worker_bytes"], plan["memory"]["coordinator_bytes"]


def children(parent):
    """Program names of the children of a process, by process id."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        try:
            name, _, rest = (entry / "stat").read_text(encoding="utf-8").partition("(")[2].rpartition(") ")
            if entry.name.isdigit() and int(rest.split()[1]) == parent:
                found[int(entry.name)] = name
        except OSError:
            pass
    return found


def peak(process):
    try:
        status = pathlib.Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)


def measured(run_file, workers, sets):
    command = ["headstart", "train", run_file, "--workers", str(workers), "--device", "cpu", *sets]
    with open(os.devnull, "w", encoding="utf-8") as null:
        run = subprocess.Popen(command, stdout=null, stderr=null)
    peaks = {}
    while run.poll() is None:
        for process, name in children(run.pid).items():
            kind, most = peaks.get(process, (name, 0))
            peaks[process] = (kind, max(most, peak(process)))
        time.sleep(0.02)
    if run.returncode:
        sys.exit(f"{' '.join(command)}: exit code {run.returncode}")
    # The kernel keeps 15 characters of a program's name.
    most = {kind: max(size for name, size in peaks.values() if name == kind) for kind in dict(peaks.values())}
    return most["headstart-worke"], most["headstart-coord"]


def main():
    os.chdir(ROOT)
    worst = 0
    only = os.environ.get("ONLY", "")
    print(f"{'':<42}{'predicted':>12}{'measured':>12}{'error':>9}")
    for name, (run_file, workers, changes) in CASES.items():
        if only not in name:
            continue
        with tempfile.TemporaryDirectory() as directory:
            output = pathlib.Path(directory, "run")
            changes = {
                "max_steps": STEPS,
                **changes,
                "output_dir": str(output),
                "eval_strategy": "no",
                "warmup_steps": 0,
                "cluster.min_workers": workers,
            }
            sets = arguments(changes)
            plan = predicted(run_file, workers, sets)
            found = measured(run_file, workers, sets)
            shutil.rmtree(output, ignore_errors=True)
        for kind, expected, actual in zip(("worker", "coordinator"), plan, found):
            error = 100 * (expected / actual - 1)
            worst = max(worst, abs(error))
            line = f"{name + ': ' + kind:<55}"[:60]
            print(f"{line}{expected / 2**20:>8.0f} MiB{actual / 2**20:>8.0f} MiB{error:>+8.1f} %", flush=True)
    print(f"largest error: {worst:.1f} %")
    return worst > LIMIT


if __name__ == "__main__":
    sys.exit(main())
