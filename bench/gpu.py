#!/usr/bin/env python3
"""On a GPU: equal bits from 1, 2 and 4 workers on it, digits and sections trained there, and speed beside PyTorch's.

Speed is one worker's, at MiniLM (examples/sections) with 32 and 256 samples a step in one shard, beside PyTorch's eager loop, and at
LoRA of SmolLM2 (examples/assistant), beside transformers + PEFT; all in 32-bit floats. Runs are interleaved; each figure is the
median over REPEATS runs of STEPS steps, the first ones dropped.

The arguments are a command that prints the path of a Python with PyTorch, transformers and PEFT: its libtorch_cuda is what the
workers load. Without a GPU the script says so and ends well, but not where CI is set: there it was to be measured. DEVICE=cpu
runs everything on the CPU, to try the script itself.
"""
import hashlib
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys

import lora

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUNS = pathlib.Path("runs/bench-gpu")
SECTIONS = "examples/sections/run.yaml"
DIGITS = "examples/digits/pretrain.yaml"
DATA = "examples/sections/data/train.jsonl"
STEPS = int(os.environ.get("STEPS", 100))
REPEATS = int(os.environ.get("REPEATS", 5))
WARM_UP = 10
DEVICE = os.environ.get("DEVICE", "cuda:0")
BATCHES = (32, 256)


def card():
    """The name of the first GPU, or of the CPU if that was asked for; None without a GPU."""
    if DEVICE == "cpu":
        return platform.processor() or "cpu"
    if shutil.which("nvidia-smi") is None:
        return None
    found = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True)
    return found.stdout.strip().splitlines()[0] if found.returncode == 0 and found.stdout.strip() else None


def libraries(python):
    """The environment, with PyTorch's CUDA libraries in LD_LIBRARY_PATH if a GPU is used."""
    if DEVICE == "cpu":
        return dict(os.environ)
    code = "import glob, os, torch; t = os.path.dirname(torch.__file__); print(t + '/lib', *glob.glob(os.path.dirname(t) + '/nvidia/*/lib'), sep=':')"
    found = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    return {**os.environ, "LD_LIBRARY_PATH": found.stdout.strip()}


def train(environment, run_file, name, workers, settings):
    """Trains; returns the final weights' hash, and what was logged of each step."""
    output = RUNS / name
    shutil.rmtree(output, ignore_errors=True)
    settings = {**settings, "output_dir": output, "cluster.min_workers": workers}
    command = ["headstart", "train", run_file, "--workers", str(workers), "--device", DEVICE, *lora.sets(settings)]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    with open(output / "final/metrics.jsonl", encoding="utf-8") as metrics:
        steps = [line for line in map(json.loads, metrics) if "loss" in line]
    weights = b"".join(file.read_bytes() for file in sorted((output / "final").glob("*.safetensors")))
    return hashlib.sha256(weights).hexdigest(), steps


def prepare(run_file, settings, start, rows):
    """Writes weights of version 0, and the rows of each step."""
    changes = lora.sets(settings)
    shutil.rmtree(start, ignore_errors=True)
    subprocess.run(["headstart", "init", run_file, *changes, str(start)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(rows, "w", encoding="utf-8") as file:
        subprocess.run(["headstart", "rows", run_file, *changes, "--steps", str(STEPS)], check=True, stdout=file)


def printed(python, script):
    """The lines of JSON that a script of PyTorch's side prints."""
    found = subprocess.run([python, *script, "--threads", "1", "--device", DEVICE], check=True, capture_output=True, text=True)
    return [json.loads(line) for line in found.stdout.strip().splitlines()]


def equal_bits(environment):
    for name, run_file, shards in (("digits", DIGITS, 8), ("sections", SECTIONS, 8)):
        settings = {"max_steps": STEPS, "shards_per_step": shards}
        hashes = {workers: train(environment, run_file, f"{name}-{workers}", workers, settings)[0] for workers in (1, 2, 4)}
        if len(set(hashes.values())) != 1:
            sys.exit(f"{name}: the weights depend on the number of workers: {hashes}")
        print(f"{name}: {hashes[1]} from 1, 2 and 4 workers on one device")


def classifier(python, environment, batch):
    """Samples per second of PyTorch and of Headstart, at MiniLM with this many samples a step."""
    settings = {"max_steps": STEPS, "eval_strategy": "no", "eval_datasets": "null", "save_strategy": "no", "shards_per_step": 1}
    settings |= {"global_batch_size": batch, "per_device_train_batch_size": batch}
    start, rows = RUNS / "start", RUNS / "rows.jsonl"
    prepare(SECTIONS, settings, start, rows)
    script = ["bench/pytorch.py", "--weights", str(start), "--data", DATA, "--rows", str(rows)]
    theirs, ours = [], []
    for _ in range(REPEATS):
        theirs += printed(python, script)[-1]
        steps = train(environment, SECTIONS, "speed", 1, settings)[1]
        ours += [step["samples_per_second"] for step in steps[WARM_UP:]]
    return statistics.median(theirs), statistics.median(ours)


def adapter(python, environment):
    """Tokens per second of transformers + PEFT and of Headstart, at LoRA of SmolLM2."""
    settings = {**lora.SETTINGS, "max_steps": STEPS, "threads_per_worker": 1}
    start, rows = RUNS / "adapter", RUNS / "adapter-rows.jsonl"
    prepare(lora.RUN_FILE, settings, start, rows)
    script = ["tests/parity/peft_trainer.py", "--base", "examples/assistant/model", "--start", str(start)]
    script += ["--data", "examples/assistant/data/train.jsonl", "--rows", str(rows)]
    script += ["--micro-batch", str(lora.MICRO_BATCH), "--learning-rate", str(settings["learning_rate"])]
    theirs, ours = [], []
    for _ in range(REPEATS):
        *steps, _ = printed(python, script)
        tokens = [step["tokens"] for step in steps]
        logged = train(environment, lora.RUN_FILE, "speed", 1, settings)[1]
        theirs.append(lora.speed(steps[WARM_UP:], tokens[WARM_UP:]))
        ours.append(lora.speed(logged[WARM_UP:], tokens[WARM_UP:]))
    return statistics.median(theirs), statistics.median(ours)


def speed(python, environment, name):
    cases = [(f"MiniLM, {batch} a step", "samples/s", *classifier(python, environment, batch)) for batch in BATCHES]
    cases.append(("SmolLM2, LoRA", "tokens/s", *adapter(python, environment)))
    print(f"\n| {name} | unit | PyTorch eager, or PEFT | Headstart, 1 worker | ratio |\n|---|---|---|---|---|")
    for case, unit, theirs, ours in cases:
        print(f"| {case} | {unit} | {theirs:.1f} | {ours:.1f} | {ours / theirs:.2f}× |")


def main():
    os.chdir(ROOT)
    name = card()
    if name is None:
        print("no GPU here (nvidia-smi finds none): nothing was measured")
        sys.exit(1 if os.environ.get("CI") else 0)
    if STEPS <= WARM_UP:
        sys.exit(f"bench-gpu: STEPS is {STEPS}; the first {WARM_UP} are dropped, so take more")
    for script in ("examples/digits/prepare.py", "examples/sections/setup.py", "examples/assistant/setup.py"):
        subprocess.run([script], check=True)
    python = subprocess.run(sys.argv[1:], check=True, capture_output=True, text=True).stdout.strip()
    shutil.rmtree(RUNS, ignore_errors=True)
    RUNS.mkdir(parents=True)
    environment = libraries(python)
    equal_bits(environment)
    speed(python, environment, name)


if __name__ == "__main__":
    main()
