#!/usr/bin/env python3
"""What a step costs beyond computing, and what the coordinator holds, for 1 to 32 workers whose trainer only sleeps.

Real coordinator, real sessions over loopback TCP (worker/examples/sleepers.rs; the path of that program is the first argument);
each of N workers sleeps for one of N shards. Networks of P trainable elements have random weights. When STEPS steps are measured one
more worker joins, so that the coordinator's peak holds what it hands to newcomers. Fits formulas in N and P, and measures 1,000 more
members that are ready but idle. The results go to their section of bench/RESULTS.md and to bench/scale.svg.

WORKERS="1,2,4,8,16,32" MILLIONS="1,4,16" IDLE=1000 STEPS=12 WIRE=f32
"""
import collections
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

import chart
import results
from plan_memory import LLAMA, arguments, peak, write_language_model

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUNS = pathlib.Path("runs/bench-scale")
PLOT = pathlib.Path("bench/scale.svg")
WORKERS = [int(number) for number in os.environ.get("WORKERS", "1,2,4,8,16,32").split(",")]
MILLIONS = [int(number) for number in os.environ.get("MILLIONS", "1,4,16").split(",")]
IDLE = int(os.environ.get("IDLE", 1000))
STEPS = int(os.environ.get("STEPS", 12))
WIRE = os.environ.get("WIRE", "f32")
WARM_UP = 4
# Of a trainer, as in sleepers.rs.
SLEEP = 0.05
# Processes that the workers are spread over.
PROCESSES = 32
ADDRESS, ADMIN = "127.0.0.1:7391", "127.0.0.1:7392"
# More than are done before a run is stopped, and those that are done with the newcomer.
MANY_STEPS, LATE_STEPS = 1_000_000, 3
LONGEST_RUN = 1800
# Hidden size by millions of elements: four layers of 16 × hidden² each.
HIDDEN = {0: 32, 1: 128, 4: 256, 16: 512}
ROWS = 4096


def config(millions):
    hidden = HIDDEN[millions]
    return {
        **LLAMA, "vocab_size": 257, "hidden_size": hidden, "intermediate_size": 4 * hidden, "num_hidden_layers": 4,
        "num_key_value_heads": 4,
    }


def settings(shards, workers):
    return {
        "max_steps": MANY_STEPS, "warmup_steps": 0, "eval_strategy": "no", "save_strategy": "no", "sequence_len": 16,
        "global_batch_size": shards, "per_device_train_batch_size": 1, "shards_per_step": shards, "wire": WIRE,
        "cluster.min_workers": workers, "cluster.max_workers": workers + 1, "cluster.shared_memory": False,
    }


def trainable(run_file):
    command = ["headstart", "plan", run_file, "--format", "json", "--samples-per-second", "1", "--bandwidth", "1e9"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["trainable_parameters"]


class Case:
    """A run: its processes, of which the coordinator is the first, and the most memory that the coordinator had, in bytes."""

    def __init__(self, sleepers, run_file, sets):
        self.sleepers, self.log, self.most = sleepers, open(RUNS / "log", "w", encoding="utf-8"), 0
        self.processes = []
        self.deadline = time.monotonic() + LONGEST_RUN
        self.start(["headstart-coordinator", run_file, "--listen", ADDRESS, "--admin", ADMIN, *sets])

    def start(self, command):
        self.processes.append(subprocess.Popen(command, stdout=self.log, stderr=self.log))

    def start_workers(self, number):
        self.start([self.sleepers, "--coordinator", f"http://{ADDRESS}", "--workers", str(number)])

    def metrics(self):
        """The coordinator's metrics without labels, by name after `headstart_`; 0 for what is not there yet."""
        found = collections.defaultdict(float)
        try:
            with urllib.request.urlopen(f"http://{ADMIN}/metrics", timeout=30) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return found
        for line in lines:
            name, _, value = line.rpartition(" ")
            if name.startswith("headstart_") and "{" not in name:
                found[name.removeprefix("headstart_")] = float(value)
        return found

    def until(self, name, least):
        """Waits until a metric has a value; returns all metrics then."""
        while True:
            began = time.monotonic()
            metrics = self.metrics()
            # With many workers an answer is long: asking shall not be what is measured.
            pause = max(0.05, 20 * (time.monotonic() - began))
            self.most = max(self.most, peak(self.processes[0].pid))
            if metrics[name] >= least:
                return metrics
            if any(process.poll() is not None for process in self.processes) or time.monotonic() > self.deadline:
                sys.exit(f"headstart: a process ended, or the run took more than {LONGEST_RUN} s: see {RUNS}/log")
            time.sleep(pause)

    def finish(self):
        """Stops the run, whose weights are written, and waits for its end."""
        subprocess.run(["headstart", "stop", "--coordinator", f"http://{ADDRESS}"], check=True, stdout=self.log, stderr=self.log)
        while self.processes[0].poll() is None and time.monotonic() < self.deadline:
            self.most = max(self.most, peak(self.processes[0].pid))
            time.sleep(0.02)

    def kill(self):
        for process in self.processes:
            process.kill()
            process.wait()
        self.log.close()


def measure(sleepers, millions, shards, workers):
    """A run's trainable elements, mean step time beyond the sleep in seconds, and the coordinator's peak memory in bytes."""
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        run_file = write_language_model(directory, config(millions))
        (directory / "rows.jsonl").write_text('{"text": "abcdefgh"}\n' * ROWS, encoding="utf-8")
        case = Case(sleepers, run_file, arguments({**settings(shards, workers), "output_dir": str(directory / "run")}))
        try:
            count = min(workers, PROCESSES)
            for place in range(count):
                case.start_workers(workers // count + (place < workers % count))
            before = case.until("step", WARM_UP)
            after = case.until("step", before["step"] + STEPS)
            case.start_workers(1)
            joined = case.until("workers_ready", workers + 1)
            case.until("step", joined["step"] + LATE_STEPS)
            case.finish()
        finally:
            case.kill()
        took, steps = (after[f"step_seconds_{part}"] - before[f"step_seconds_{part}"] for part in ("sum", "count"))
        return trainable(run_file), took / steps - SLEEP, case.most


def solve(matrix, right):
    """Solves a system of linear equations by elimination with pivots."""
    rows = [[*row, value] for row, value in zip(matrix, right)]
    size = len(rows)
    for place in range(size):
        best = max(range(place, size), key=lambda row: abs(rows[row][place]))
        rows[place], rows[best] = rows[best], rows[place]
        for row in range(size):
            if row != place:
                factor = rows[row][place] / rows[place][place]
                rows[row] = [left - factor * above for left, above in zip(rows[row], rows[place])]
    return [rows[place][size] / rows[place][place] for place in range(size)]


TERMS = {"": lambda n, p: 1.0, "N": lambda n, p: n, "P": lambda n, p: p, "N·P": lambda n, p: n * p}


def fit(points):
    """Least squares of relative errors over [(N, P in millions, value)]; terms with a negative factor are left out, one by one.
    Returns ({term: factor}, largest relative error)."""
    # A number that never varies explains nothing.
    constant = [name for place, name in enumerate("NP") if len({point[place] for point in points}) == 1]
    terms = [term for term in TERMS if not any(name in term for name in constant)]
    while True:
        lines = [[TERMS[term](n, p) / value for term in terms] for n, p, value in points]
        normal = [[sum(line[a] * line[b] for line in lines) for b in range(len(terms))] for a in range(len(terms))]
        factors = dict(zip(terms, solve(normal, [sum(line[a] for line in lines) for a in range(len(terms))])))
        negative = [term for term in terms if factors[term] < 0]
        if not negative:
            worst = max(abs(sum(factors[term] * TERMS[term](n, p) for term in terms) / value - 1) for n, p, value in points)
            return factors, worst
        terms.remove(min(negative, key=factors.get))


def formula(points):
    factors, worst = fit(points)
    words = " + ".join(f"{factor:.{0 if factor >= 100 else 2}f}{' · ' + term if term else ''}" for term, factor in factors.items())
    return f"{words} (largest error {100 * worst:.0f} %)"


def report(found, idle):
    elements = {millions: found[millions, WORKERS[0]][0] / 1e6 for millions in MILLIONS}
    names = {millions: f"P = {elements[millions]:.1f} M" for millions in MILLIONS}
    overhead = {names[millions]: [1e3 * max(found[millions, n][1], 1e-4) for n in WORKERS] for millions in MILLIONS}
    memory = {names[millions]: [found[millions, n][2] / 2**20 for n in WORKERS] for millions in MILLIONS}
    title = "What a step takes beyond computing, over loopback TCP on two cores"
    colours = dict(zip(names.values(), [chart.BLUES[2], chart.ORANGES[1], chart.BLUES[0], chart.GREY] * len(names)))
    chart.lines(PLOT, title, ("workers", "ms a step"), WORKERS, overhead, colours)

    def points(values):
        return [(n, elements[millions], value) for millions in MILLIONS for n, value in zip(WORKERS, values[names[millions]])]

    rows = [[what, name, *(f"{value:.0f}" for value in values[name])]
            for what, values in (("step beyond computing, ms", overhead), ("coordinator's peak, MiB", memory)) for name in values]
    text = f"""## What workers cost the coordinator

{results.written_by("make bench-scale")}

N workers whose trainer sleeps {1e3 * SLEEP:.0f} ms for its one shard, over loopback TCP, wire {WIRE}; networks of P trainable elements. Workers and
coordinator share the cores. Means of at least {STEPS} steps after the first {WARM_UP}; memory is the coordinator's VmHWM up to its end, with a
worker that joins after these steps and a commit.

{results.table(["", "", *(f"N = {n}" for n in WORKERS)], rows)}

With P in millions:

- a step beyond computing, ms: {formula(points(overhead))}
- the coordinator's peak, MiB: {formula(points(memory))}

![A step beyond computing, by workers]({PLOT.name})
"""
    if idle:
        (_, few, low), (_, many, high) = idle
        text += f"""
{IDLE:,} more members that are ready but idle: {(high - low) / 2**20:.0f} MiB more in the coordinator ({high / 2**20:.0f} beside {low / 2**20:.0f}), a step of
one shard beyond computing {1e3 * many:.1f} ms beside {1e3 * few:.1f}.
"""
    results.replace("scale", text)
    print(text)


def main():
    os.chdir(ROOT)
    sleepers = sys.argv[1]
    # SIGTERM unwinds the stack as an exception does, so that no process is left behind.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    shutil.rmtree(RUNS, ignore_errors=True)
    RUNS.mkdir(parents=True)
    found = {}
    for millions in MILLIONS:
        for workers in WORKERS:
            found[millions, workers] = measure(sleepers, millions, workers, workers)
            elements, beyond, most = found[millions, workers]
            progress = f"{workers} workers, {elements:,} elements: {1e3 * beyond:.1f} ms beyond computing, {most / 2**20:.0f} MiB"
            print(progress, file=sys.stderr, flush=True)
    idle = [measure(sleepers, 0, 1, workers) for workers in (1, 1 + IDLE)] if IDLE else None
    report(found, idle)


if __name__ == "__main__":
    main()
