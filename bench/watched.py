#!/usr/bin/env python3
"""What being watched costs a step: a dashboard with an open page, and metrics sent to TensorBoard and an MLflow server, beside a run that
nobody watches. Runs alternate; each pair gives a ratio of median step times. The results go to their section of bench/RESULTS.md.

PAIRS=5 TASKS="sections,digits". PATH decides the programs; HEADSTART_TRACKERS names a Python with mlflow (scripts/test-env.sh).
"""
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import results

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUNS = pathlib.Path("runs/bench-watched")
PAIRS = int(os.environ.get("PAIRS", 5))
TASKS = os.environ.get("TASKS", "sections,digits").split(",")
WARM_UP = 20
SETTINGS = {
    "sections": ("examples/sections/run.yaml", {"max_steps": 120, "save_steps": 30}),
    "digits": ("examples/digits/scratch.yaml", {"max_steps": 1500, "save_steps": 100}),
}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Mlflow:
    """A server of its own, in a folder of its own."""

    def __enter__(self):
        self.folder, port = tempfile.mkdtemp(), free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [os.environ["HEADSTART_TRACKERS"], "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db", "--default-artifact-root", self.folder]
        # It would import packages that are not installed.
        variables = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
        self.process = subprocess.Popen(command, cwd=self.folder, env=variables, **quiet)
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{self.url}/health").close()
                return self
            except OSError:
                time.sleep(0.2)
        sys.exit("headstart: the MLflow server does not answer")

    def __exit__(self, *_):
        os.killpg(self.process.pid, 15)
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def look(port, seen):
    """Reads the stream of a page until the run ends."""
    while not seen["over"]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/dashboard/events") as stream:
                for line in stream:
                    seen["bytes"] += len(line)
        except OSError:
            time.sleep(0.1)


def train(task, watched, server):
    """Median step time in seconds, and bytes that a page took."""
    run_file, settings = SETTINGS[task]
    output = RUNS / "run"
    shutil.rmtree(output, ignore_errors=True)
    settings = {**settings, "output_dir": output, "eval_strategy": "no", "probe": "false"}
    port, seen, options = free_port(), {"over": False, "bytes": 0}, ["--dashboard", "off"]
    if watched:
        settings["report_to"] = "[tensorboard, mlflow]"
        options = ["--dashboard", "on", "--admin", f"127.0.0.1:{port}"]
        reader = threading.Thread(target=look, args=(port, seen), daemon=True)
        reader.start()
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    variables = {**os.environ, "MLFLOW_TRACKING_URI": server.url}
    with open(RUNS / "log", "w", encoding="utf-8") as log:
        command = ["headstart", "train", run_file, "--workers", "2", *options, *sets]
        if subprocess.run(command, stdout=log, stderr=log, env=variables, check=False).returncode:
            sys.exit(f"headstart: a run failed: see {RUNS}/log")
    seen["over"] = True
    if watched and not (seen["bytes"] and list((output / "tensorboard").iterdir())):
        sys.exit("headstart: nobody was watching")
    with open(output / "final/metrics.jsonl", encoding="utf-8") as lines:
        times = [line["step_time"] for line in map(json.loads, lines) if "step_time" in line]
    return statistics.median(times[WARM_UP:]), seen["bytes"]


def main():
    os.chdir(ROOT)
    RUNS.mkdir(parents=True, exist_ok=True)
    rows = []
    with Mlflow() as server:
        for task in TASKS:
            alone, watched, taken = [], [], []
            for pair in range(PAIRS):
                for which in (False, True) if pair % 2 == 0 else (True, False):
                    median, read = train(task, which, server)
                    (watched if which else alone).append(median)
                    if which:
                        taken.append(read)
            ratios = [one / other for one, other in zip(watched, alone)]
            ratio = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
            milliseconds = [f"{1e3 * statistics.median(times):.1f} ms" for times in (alone, watched)]
            rows.append([task, *milliseconds, ratio, f"{statistics.median(taken) / 1e6:.1f} MB"])
            print(rows[-1], file=sys.stderr, flush=True)
    header = ["run", "nobody watches", "watched", "ratio", "a page took"]
    results.replace("watched", f"""## What being watched costs

{results.written_by("make bench-watched")}

Median step time of two workers, alone and with a dashboard that has an open page, TensorBoard files and an MLflow server on the same
machine: medians of {PAIRS} pairs of runs that alternate, in brackets the range of the pairs' ratios.

{results.table(header, rows)}
""")


if __name__ == "__main__":
    main()
