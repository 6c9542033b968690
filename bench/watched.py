#!/usr/bin/env python3
"""What being watched costs a step: a dashboard with an open page, and metrics sent to TensorBoard and an MLflow server, beside a run that
nobody watches. The runs take turns of a few seconds: one trains while the others are stopped (SIGSTOP), so that all see the machine as
it is at the time. MLflow's server competes with one run for the processor; of the other one it is stood in for by a server that takes all
and keeps nothing, as if it were on another machine. Memory lies a little better in one run than in another, so there are several rounds
of runs. The results go to their section of bench/RESULTS.md.

TASKS="sections,digits" ROUNDS=3. PATH decides the programs; HEADSTART_TRACKERS names a Python with mlflow (scripts/test-env.sh).
"""
import http.server
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
from program import sets

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUNS = pathlib.Path("runs/bench-watched")
TASKS = os.environ.get("TASKS", "sections,digits").split(",")
ROUNDS = int(os.environ.get("ROUNDS", 3))
WARM_UP = 20
TURN = 2.0
SETTINGS = {
    "sections": ("examples/sections/run.yaml", {"max_steps": 200, "save_steps": 30}),
    "digits": ("examples/digits/scratch.yaml", {"max_steps": 4000, "save_steps": 100}),
}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Elsewhere:
    """Answers as MLflow does to whoever asks for a run and sends its metrics, and keeps nothing."""

    sessions = ()

    def __enter__(self):
        run = {"info": {"run_id": "run"}, "data": {}}
        answers = {"search": {"runs": [run]}, "create": {"run": run}, "get-by-name": {"experiment": {"experiment_id": "1"}}}

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = json.dumps(answers.get(self.path.partition("?")[0].rsplit("/", 1)[-1], {})).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()


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
        self.sessions = (self.process.pid,)
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


class Run:
    """`headstart train` with two workers; `server`: who is told of its metrics, if it is watched."""

    def __init__(self, name, task, server=None):
        run_file, settings = SETTINGS[task]
        self.output, self.server, self.turns = RUNS / name, server, []
        self.seen = {"over": False, "bytes": 0}
        shutil.rmtree(self.output, ignore_errors=True)
        settings = {**settings, "output_dir": str(self.output), "eval_strategy": "no", "probe": False}
        options, variables = ["--dashboard", "off"], os.environ
        if server:
            port = free_port()
            settings["report_to"] = ["tensorboard", "mlflow"]
            options = ["--dashboard", "on", "--admin", f"127.0.0.1:{port}"]
            variables = {**os.environ, "MLFLOW_TRACKING_URI": server.url}
            threading.Thread(target=look, args=(port, self.seen), daemon=True).start()
        command = ["headstart", "train", run_file, "--workers", "2", *options, *sets(settings)]
        self.log = open(RUNS / f"{name}.log", "w", encoding="utf-8")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=variables, start_new_session=True)

    def signal(self, number):
        """To the run's processes, and to the server that works for it. Each leads a session of its own."""
        sessions = [self.process.pid, *(self.server.sessions if self.server else ())]
        subprocess.run(["pkill", f"-{number}", "-s", ",".join(map(str, sessions))], check=False)

    def take_turn(self):
        """Trains while the other run is stopped; whether it goes on after that."""
        self.signal("CONT")
        began = time.time()
        try:
            self.process.wait(TURN)
        except subprocess.TimeoutExpired:
            self.turns.append((began, time.time()))
            self.signal("STOP")
            return True
        if self.process.returncode:
            sys.exit(f"headstart: a run failed: see {self.log.name}")
        return False

    def step_times(self):
        """Of each turn, the times in seconds of the steps that began and ended in it."""
        with open(self.output / "final/metrics.jsonl", encoding="utf-8") as lines:
            steps = [line for line in map(json.loads, lines) if "step_time" in line][WARM_UP:]
        return [
            [step["step_time"] for step in steps if began <= step["time"] - step["step_time"] and step["time"] <= ended]
            for began, ended in self.turns
        ]


def take_turns(runs):
    """Until all have ended. When the first one has, the others go on unmeasured."""
    for run in runs:
        run.signal("STOP")
    try:
        order = list(runs)
        while all([run.take_turn() for run in order]):
            order.reverse()
        for run in runs:
            run.signal("CONT")
            if run.process.wait():
                sys.exit(f"headstart: a run failed: see {run.log.name}")
    finally:
        for run in runs:
            run.signal("CONT")
            run.process.terminate()
            run.seen["over"] = True


def measure(task):
    """The row of a task."""
    turns, taken = [], []
    for _ in range(ROUNDS):
        with Elsewhere() as elsewhere, Mlflow() as beside:
            runs = [Run("alone", task), Run("watched", task, elsewhere), Run("beside", task, beside)]
            take_turns(runs)
        for run in runs[1:]:
            if not (run.seen["bytes"] and list((run.output / "tensorboard").iterdir())):
                sys.exit("headstart: nobody was watching")
        taken.append(runs[1].seen["bytes"])
        turns += [times for times in zip(*(run.step_times() for run in runs)) if all(len(some) > 2 for some in times)]
    row = [task, len(turns), f"{1e3 * statistics.median(time for alone, *_ in turns for time in alone):.1f} ms"]
    for which in (1, 2):
        ratios = sorted(statistics.median(times[which]) / statistics.median(times[0]) for times in turns)
        quarter = len(ratios) // 4
        row.append(f"{statistics.median(ratios):.3f} ({ratios[quarter]:.3f} to {ratios[-1 - quarter]:.3f})")
    row.append(f"{statistics.median(taken) / 1e6:.1f} MB")
    return row


def main():
    os.chdir(ROOT)
    RUNS.mkdir(parents=True, exist_ok=True)
    rows = []
    for task in TASKS:
        rows.append(measure(task))
        print(rows[-1], file=sys.stderr, flush=True)
    header = ["run", "turns each", "nobody watches", "ratio, server elsewhere", "ratio, server on these cores", "a page took"]
    results.replace("watched", f"""## What being watched costs

{results.written_by("make bench-watched")}

Median step time of two workers, alone and with a dashboard that has an open page, TensorBoard files and an MLflow server: once it is
stood in for by a server that takes all and keeps nothing, as if it were elsewhere, once it takes its time from the same cores. The runs take
turns of {TURN:.0f} seconds, one training while the others are stopped. A ratio is the median of the ratios of turns that follow each
other, in brackets the middle half of them.

{results.table(header, rows)}
""")


if __name__ == "__main__":
    main()
