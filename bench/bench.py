#!/usr/bin/env python3
"""Times Headstart and PyTorch side by side on the sections example, on the same two cores, interleaved.

Each figure is the median over all steps of all repeats, of samples a second; the coordinator runs on the same cores as the
workers. REPEATS (5) and STEPS (30) come from the environment, the path of a Python with PyTorch is the first argument. The
table goes to standard output and to its section of bench/RESULTS.md, with the day and the machine.
"""
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys

import results

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUNS = pathlib.Path("runs/bench")
RUN_FILE = "examples/sections/run.yaml"
DATA = "examples/sections/data/train.jsonl"
STEPS = int(os.environ.get("STEPS", 30))
REPEATS = int(os.environ.get("REPEATS", 5))
WARM_UP = 5
PINNED = ["taskset", "--cpu-list", "0,1"]


def headstart(workers, threads, shards, memory="true"):
    output = RUNS / "run"
    shutil.rmtree(output, ignore_errors=True)
    settings = {
        "output_dir": output,
        "max_steps": STEPS,
        "eval_strategy": "no",
        "eval_datasets": "null",
        "shards_per_step": shards,
        "per_device_train_batch_size": 32 // shards,
        "threads_per_worker": threads,
        "cluster.min_workers": workers,
        "cluster.shared_memory": memory,
    }
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
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
        "PyTorch, 1 process × 2 threads": (None, lambda: pytorch(python, 1, 2)),
        "torchrun DDP, 2 ranks × 1 thread": (None, lambda: pytorch(python, 2, 1)),
    }
    alone, ddp = cases
    for shards in (1, 2, 4, 8):
        cases[f"1 worker × 2 threads, V = {shards}"] = (alone, lambda shards=shards: headstart(1, 2, shards))
    cases["1 worker × 2 threads, V = 1, over TCP"] = (alone, lambda: headstart(1, 2, 1, "false"))
    for shards in (2, 4, 8):
        cases[f"2 workers × 1 thread, V = {shards}"] = (ddp, lambda shards=shards: headstart(2, 1, shards))
    cases["2 workers × 1 thread, V = 2, over TCP"] = (ddp, lambda: headstart(2, 1, 2, "false"))
    speeds = {name: [] for name in cases}
    for repeat in range(REPEATS):
        for name, (_, run) in cases.items():
            speeds[name] += run()
            median = statistics.median(speeds[name])
            print(f"repeat {repeat + 1} of {REPEATS}: {name}: {median:.1f}", file=sys.stderr, flush=True)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    rows = [
        [name, f"{medians[name]:.1f}", f"{medians[name] / medians[base]:.2f}× {base.split(chr(44))[0]}" if base else ""]
        for name, (base, _) in cases.items()
    ]
    report(results.table(["", "samples/s", "ratio"], rows))


def report(table):
    text = f"""## Side by side with PyTorch

{results.written_by("make bench")}

MiniLM (22.7 M parameters) on `examples/sections`, global batch 32, dropout on, f32, AdamW; rows padded to the longest of a
batch. All processes of a line, the coordinator's too, share the same two cores. Medians over {REPEATS} interleaved runs of
{STEPS} steps, the first {WARM_UP} of each dropped. V is the number of shards of a step (`shards_per_step`): smaller
micro-batches are the price of bits that don't depend on up to V workers.

{table}
"""
    results.replace("speed", text)
    print(text)


if __name__ == "__main__":
    main()
