#!/usr/bin/env python3
"""Times Headstart and PyTorch side by side on the sections example, on the same two cores, interleaved.

Each figure is the median over all steps of all repeats, of samples a second; the coordinator runs on the same cores as the
workers. REPEATS (5) and STEPS (30) come from the environment, the path of a Python with PyTorch is the first argument.
"""
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUNS = pathlib.Path("runs/bench")
RUN_FILE = "examples/sections/run.yaml"
DATA = "examples/sections/data/train.jsonl"
STEPS = int(os.environ.get("STEPS", 30))
REPEATS = int(os.environ.get("REPEATS", 5))
WARM_UP = 5
PINNED = ["taskset", "--cpu-list", "0,1"]


def headstart(workers, threads, shards):
    output = RUNS / "run"
    shutil.rmtree(output, ignore_errors=True)
    settings = {
        "output_dir": output,
        "max_steps": STEPS,
        "eval_strategy": "no",
        "shards_per_step": shards,
        "per_device_train_batch_size": 32 // shards,
        "threads_per_worker": threads,
        "cluster.min_workers": workers,
    }
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    sets += ["--set", "eval_datasets=null"]
    command = ["headstart", "train", RUN_FILE, "--workers", str(workers), *sets]
    subprocess.run(PINNED + command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    lines = [json.loads(line) for line in open(output / "final/metrics.jsonl", encoding="utf-8")]
    return [line["samples_per_second"] for line in lines if "samples_per_second" in line][WARM_UP - 1 :]


def pytorch(python, ranks, threads):
    script = ["bench/pytorch.py", "--weights", str(RUNS / "start"), "--data", DATA, "--rows", str(RUNS / "rows.jsonl")]
    script += ["--threads", str(threads)]
    launch = [python] if ranks == 1 else [python, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    found = subprocess.run(PINNED + launch + script, check=True, capture_output=True, text=True, env=environment)
    return json.loads(found.stdout.strip().splitlines()[-1])


def main():
    os.chdir(ROOT)
    python = sys.argv[1]
    shutil.rmtree(RUNS, ignore_errors=True)
    RUNS.mkdir(parents=True)
    subprocess.run(["headstart", "init", RUN_FILE, str(RUNS / "start")], check=True, stderr=subprocess.DEVNULL)
    with open(RUNS / "rows.jsonl", "w", encoding="utf-8") as rows:
        subprocess.run(["headstart", "rows", RUN_FILE, "--steps", str(STEPS)], check=True, stdout=rows)

    cases = {
        "PyTorch, 1 process × 2 threads": lambda: pytorch(python, 1, 2),
        "Headstart, 1 worker × 2 threads, 1 shard": lambda: headstart(1, 2, 1),
        "torchrun DDP, 2 ranks × 1 thread": lambda: pytorch(python, 2, 1),
        "Headstart, 2 workers × 1 thread, 2 shards": lambda: headstart(2, 1, 2),
        "Headstart, 2 workers × 1 thread, 4 shards": lambda: headstart(2, 1, 4),
        "Headstart, 2 workers × 1 thread, 8 shards": lambda: headstart(2, 1, 8),
    }
    speeds = {name: [] for name in cases}
    for repeat in range(REPEATS):
        for name, run in cases.items():
            speeds[name] += run()
            print(f"repeat {repeat + 1} of {REPEATS}: {name}: {statistics.median(speeds[name]):.1f}", flush=True)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    names = list(cases)
    base = {name: names[0] if "1 process" in name or "1 worker " in name else names[2] for name in names}
    print(f"\n{'':<44} samples/s   ratio")
    for name, median in medians.items():
        print(f"{name:<44} {median:>9.1f}   {median / medians[base[name]]:.2f}")


if __name__ == "__main__":
    main()
