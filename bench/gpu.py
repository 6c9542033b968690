#!/usr/bin/env python3
"""On a GPU: equal bits from 1, 2 and 4 workers on it, digits and sections trained there, and speed beside PyTorch's.

The path of a Python with PyTorch and transformers is the first argument: its libtorch_cuda is what the workers load. Without
a GPU the script says so and ends well, but not where CI is set: there it was to be measured.
"""
import hashlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUNS = pathlib.Path("runs/bench-gpu")
SECTIONS = "examples/sections/run.yaml"
DIGITS = "examples/digits/pretrain.yaml"
DATA = "examples/sections/data/train.jsonl"
STEPS = int(os.environ.get("STEPS", 100))
REPEATS = int(os.environ.get("REPEATS", 5))
WARM_UP = 10
DEVICE = "cuda:0"


def gpu():
    """The first GPU's name, or None."""
    if shutil.which("nvidia-smi") is None:
        return None
    found = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True)
    return found.stdout.strip().splitlines()[0] if found.returncode == 0 and found.stdout.strip() else None


def libraries(python):
    """LD_LIBRARY_PATH with PyTorch's CUDA libraries."""
    code = "import glob, os, torch; t = os.path.dirname(torch.__file__); print(t + '/lib', *glob.glob(os.path.dirname(t) + '/nvidia/*/lib'), sep=':')"
    found = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    return {**os.environ, "LD_LIBRARY_PATH": found.stdout.strip()}


def train(environment, run_file, name, workers, **settings):
    """Trains; returns the final weights' hash and the speed of each step."""
    output = RUNS / name
    shutil.rmtree(output, ignore_errors=True)
    settings = {"output_dir": output, "cluster.min_workers": workers, **settings}
    sets = [part for key, value in settings.items() for part in ("--set", f"{key.replace('__', '.')}={value}")]
    command = ["headstart", "train", run_file, "--workers", str(workers), "--device", DEVICE, *sets]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in open(output / "final/metrics.jsonl", encoding="utf-8")]
    speeds = [line["samples_per_second"] for line in lines if "samples_per_second" in line][WARM_UP:]
    return hashlib.sha256((output / "final/model.safetensors").read_bytes()).hexdigest(), speeds


def pytorch(python, start, rows):
    script = ["bench/pytorch.py", "--weights", str(start), "--data", DATA, "--rows", str(rows), "--threads", "1"]
    found = subprocess.run([python, *script, "--device", DEVICE], check=True, capture_output=True, text=True)
    return json.loads(found.stdout.strip().splitlines()[-1])


def equal_bits(environment):
    for name, run_file, shards in (("digits", DIGITS, 8), ("sections", SECTIONS, 8)):
        hashes = {
            workers: train(environment, run_file, f"{name}-{workers}", workers, max_steps=STEPS, shards_per_step=shards)[0]
            for workers in (1, 2, 4)
        }
        if len(set(hashes.values())) != 1:
            sys.exit(f"{name}: the weights depend on the number of workers: {hashes}")
        print(f"{name}: {hashes[1]} from 1, 2 and 4 workers on one GPU")


def speed(python, environment, name):
    start, rows = RUNS / "start", RUNS / "rows.jsonl"
    subprocess.run(["headstart", "init", SECTIONS, str(start)], check=True, stderr=subprocess.DEVNULL)
    with open(rows, "w", encoding="utf-8") as file:
        subprocess.run(["headstart", "rows", SECTIONS, "--steps", str(STEPS)], check=True, stdout=file)
    one_shard = {"max_steps": STEPS, "eval_strategy": "no", "eval_datasets": "null", "shards_per_step": 1}
    one_shard["per_device_train_batch_size"] = 32
    theirs, ours = [], []
    for _ in range(REPEATS):
        theirs += pytorch(python, start, rows)
        ours += train(environment, SECTIONS, "speed", 1, **one_shard)[1]
    theirs, ours = statistics.median(theirs), statistics.median(ours)
    print(f"\n| {name} | samples/s | ratio |\n|---|---|---|")
    print(f"| PyTorch eager | {theirs:.1f} | |\n| Headstart, 1 worker, V = 1 | {ours:.1f} | {ours / theirs:.2f}× |")


def main():
    os.chdir(ROOT)
    name = gpu()
    if name is None:
        print("no GPU here (nvidia-smi finds none): nothing was measured")
        sys.exit(1 if os.environ.get("CI") else 0)
    for prepare in ("examples/digits/prepare.py", "examples/sections/setup.py"):
        subprocess.run([prepare], check=True)
    python = subprocess.run(sys.argv[1:], check=True, capture_output=True, text=True).stdout.strip()
    shutil.rmtree(RUNS, ignore_errors=True)
    RUNS.mkdir(parents=True)
    environment = libraries(python)
    equal_bits(environment)
    speed(python, environment, name)


if __name__ == "__main__":
    main()
