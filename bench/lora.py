#!/usr/bin/env python3
"""Times LoRA of SmolLM2 by Headstart and by transformers + PEFT, on the same rows in the same order and on the same two cores.

Both train the conversations of examples/assistant with 8 rows a step in micro-batches of 4, rank 16, all linear layers, and a loss
over answers; tests/parity/peft_trainer.py lists the other side's settings. Runs are interleaved. A run's speed is all tokens of its
rows ÷ the time of its steps, the first WARM_UP steps dropped; the figure is the median over REPEATS (3) runs of STEPS (8) steps. The
path of a Python with PEFT is the first argument. The table goes to standard output and to bench/LORA.md.
"""
import datetime
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time

from plan_memory import children, peak

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUNS = pathlib.Path("runs/bench-lora")
RUN_FILE = "examples/assistant/run.yaml"
STEPS = int(os.environ.get("STEPS", 8))
REPEATS = int(os.environ.get("REPEATS", 3))
WARM_UP = 2
MICRO_BATCH, ROWS_PER_STEP = 4, 8
PINNED = ["taskset", "--cpu-list", "0,1"]
# The kernel keeps 15 characters of a program's name.
WORKER, COORDINATOR = "headstart-worke", "headstart-coord"
# The schedule of both sides: no warm-up, and cosine to the last step.
SETTINGS = {
    "max_steps": STEPS,
    "global_batch_size": ROWS_PER_STEP,
    "per_device_train_batch_size": MICRO_BATCH,
    "shards_per_step": ROWS_PER_STEP // MICRO_BATCH,
    "learning_rate": 2e-4,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0,
    "weight_decay": 0,
    "eval_strategy": "no",
    "eval_datasets": "null",
    "eval_on_start": "false",
    "save_strategy": "no",
    "output_dir": RUNS / "run",
}


def sets(changes):
    return [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]


def watched(command, log):
    """Runs a command. The peak memory of each of its processes: [(program, bytes)]"""
    with open(log, "w", encoding="utf-8") as errors:
        run = subprocess.Popen(command, stdout=errors, stderr=errors)
    peaks = {}
    while run.poll() is None:
        for process, name in children(run.pid).items():
            peaks[process] = (name, max(peaks.get(process, (name, 0))[1], peak(process)))
        time.sleep(0.02)
    if run.returncode:
        sys.exit(f"{' '.join(command)}: exit code {run.returncode}: see {log}")
    return list(peaks.values())


def headstart(workers, threads):
    """[{"loss", "tokens_per_second"}] of the steps, and bytes of the largest worker and of all processes."""
    shutil.rmtree(SETTINGS["output_dir"], ignore_errors=True)
    changes = {**SETTINGS, "threads_per_worker": threads, "cluster.min_workers": workers}
    command = ["headstart", "train", RUN_FILE, "--workers", str(workers), "--device", "cpu", *sets(changes)]
    peaks = [(name, size) for name, size in watched(PINNED + command, RUNS / "headstart.log") if name in (WORKER, COORDINATOR)]
    with open(SETTINGS["output_dir"] / "final/metrics.jsonl", encoding="utf-8") as metrics:
        steps = [line for line in map(json.loads, metrics) if "loss" in line]
    return steps, max(size for name, size in peaks if name == WORKER), sum(size for _, size in peaks)


def peft(python, base):
    """[{"loss", "tokens", "seconds"}] of the steps, and bytes of its one process, twice."""
    script = ["tests/parity/peft_trainer.py", "--base", base, "--start", str(RUNS / "start"), "--threads", "2"]
    script += ["--data", "examples/assistant/data/train.jsonl", "--rows", str(RUNS / "rows.jsonl")]
    script += ["--micro-batch", str(MICRO_BATCH), "--learning-rate", str(SETTINGS["learning_rate"])]
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "TOKENIZERS_PARALLELISM": "false"}
    with open(RUNS / "peft.log", "w", encoding="utf-8") as errors:
        found = subprocess.run(PINNED + [python] + script, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
    if found.returncode:
        sys.exit(f"{python} {' '.join(script)}: exit code {found.returncode}: see {RUNS / 'peft.log'}")
    *steps, last = map(json.loads, found.stdout.splitlines())
    return steps, last["peak_bytes"], last["peak_bytes"]


def speed(steps, tokens):
    """Tokens per second after the first WARM_UP steps; `tokens` are those of each step's rows."""
    if len(steps) != len(tokens):
        sys.exit(f"bench-lora: {len(steps)} steps were logged, {len(tokens)} expected")
    kept = list(zip(steps, tokens))[WARM_UP:]
    seconds = sum(step["seconds"] if "seconds" in step else step["step_time"] for step, _ in kept)
    return sum(count for _, count in kept) / seconds


def main():
    os.chdir(ROOT)
    python = sys.argv[1]
    if STEPS <= WARM_UP:
        sys.exit(f"bench-lora: STEPS is {STEPS}; the first {WARM_UP} are dropped, so take more")
    shutil.rmtree(RUNS, ignore_errors=True)
    RUNS.mkdir(parents=True)
    run_file = [RUN_FILE, *sets(SETTINGS)]
    subprocess.run(["headstart", "init", *run_file, str(RUNS / "start")], check=True, stdout=subprocess.DEVNULL)
    with open(RUNS / "rows.jsonl", "w", encoding="utf-8") as rows:
        subprocess.run(["headstart", "rows", *run_file, "--steps", str(STEPS)], check=True, stdout=rows)

    base = "transformers + PEFT, 2 threads"
    cases = {
        base: lambda: peft(python, "examples/assistant/model"),
        "Headstart, 1 worker × 2 threads": lambda: headstart(1, 2),
        "Headstart, 2 workers × 1 thread": lambda: headstart(2, 1),
    }
    speeds, memory, losses = {name: [] for name in cases}, {name: [] for name in cases}, {}
    tokens = None
    for repeat in range(REPEATS):
        for name, run in cases.items():
            steps, worker, together = run()
            # The first case knows the number of tokens; the rows are the same in all.
            tokens = tokens or [step["tokens"] for step in steps]
            speeds[name].append(speed(steps, tokens))
            memory[name].append((worker, together))
            losses[name] = [step["loss"] for step in steps]
            progress = f"repeat {repeat + 1} of {REPEATS}: {name}: {speeds[name][-1]:.1f} tokens/s"
            print(progress, file=sys.stderr, flush=True)
    report(base, speeds, memory, losses)


def report(base, speeds, memory, losses):
    median = {name: statistics.median(values) for name, values in speeds.items()}
    largest = {name: [max(column) for column in zip(*values)] for name, values in memory.items()}
    rows = ["| | tokens/s | ratio | worker, MiB | all processes, MiB | ratio |", "|---|---|---|---|---|---|"]
    for name, (worker, together) in largest.items():
        share = together / largest[base][1]
        ratio = median[name] / median[base]
        rows.append(f"| {name} | {median[name]:.0f} | {ratio:.2f} | {worker / 2**20:.0f} | {together / 2**20:.0f} | {share:.2f} |")
    curves = ["| step | " + " | ".join(losses) + " |", "|---|" + "---|" * len(losses)]
    for number, values in enumerate(zip(*losses.values()), 1):
        curves.append(f"| {number} | " + " | ".join(f"{value:.5f}" for value in values) + " |")
    cpu = next(line.split(":")[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8") if "model name" in line)
    newline = "\n"
    text = f"""# LoRA, side by side with transformers + PEFT

Written by `make bench-lora` on {datetime.date.today()}: {cpu}, 2 cores, Linux {'.'.join(platform.release().split('.')[:2])}.

SmolLM2-135M-Instruct on the conversations of `examples/assistant`: {ROWS_PER_STEP} rows a step in micro-batches of {MICRO_BATCH}, rank 16, all
linear layers, loss over answers, f32, AdamW. transformers + PEFT: SDPA, fused AdamW, the rows of a step sorted by length and padded
to the longest of a micro-batch, tokens made beforehand. All processes of a line share the same two cores. Medians of {REPEATS} interleaved
runs of {STEPS} steps, the first {WARM_UP} of each dropped. Memory is the largest VmHWM of a run; the sum over processes counts pages that
they share more than once.

{newline.join(rows)}

The mean loss of each step's trained tokens, before its update:

{newline.join(curves)}
"""
    pathlib.Path("bench/LORA.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
