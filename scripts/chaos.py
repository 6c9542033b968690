#!/usr/bin/env python3
"""Kill, pause and end the processes of a real run on a seeded schedule; its weights and ledger must be those of an
undisturbed run, byte for byte.

    SECONDS=600 EVERY=5 SEED=1 RUN=digits STEPS=6000 KINDS="kill worker, pause worker" scripts/chaos.py

Prints the faults by kind, the work that was lost, how long the run took to go on after each, and the goodput: compute
seconds of accepted leases, per second that a worker was a member. Everything is written to RUNS (runs/chaos), raw samples
to samples.json.
"""
import collections
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUNS = pathlib.Path(os.environ.get("RUNS", "runs/chaos"))
RUN_FILES = {"digits": "examples/digits/pretrain.yaml", "sections": "examples/sections/run.yaml"}
RUN = os.environ.get("RUN", "digits")
LENGTH = float(os.environ.get("SECONDS", 600))
EVERY = float(os.environ.get("EVERY", 5))
SEED = int(os.environ.get("SEED", 1))
STEPS = int(os.environ.get("STEPS", 6000))
SAVE_STEPS = int(os.environ.get("SAVE_STEPS", 20))
KINDS = [kind.strip() for kind in os.environ.get("KINDS", "").split(",") if kind.strip()] or [
    "kill worker", "kill worker", "pause worker", "end worker", "kill coordinator", "kill coordinator in a commit",
    "pause coordinator", "end coordinator",
]
WORKERS = int(os.environ.get("WORKERS", 3))
POLL = 0.02
# A run that stands still for so long does not go on.
PATIENCE = 120
TERMINATED, KILLED = 143, -signal.SIGKILL


def settings(output):
    keys = {
        "output_dir": output,
        "max_steps": STEPS,
        "eval_steps": max(STEPS // 4, 1),
        "save_steps": SAVE_STEPS,
        "save_total_limit": 2,
        "resume_from_checkpoint": "auto",
    }
    return [part for key, value in keys.items() for part in ("--set", f"{key}={value}")]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Observed:
    """The run's metrics, as of the last time that the coordinator answered."""

    def __init__(self, address):
        self.url = f"http://{address}/metrics"
        self.values = {}

    def poll(self):
        """Whether the coordinator answered."""
        try:
            with urllib.request.urlopen(self.url, timeout=1) as answer:
                text = answer.read().decode()
        except OSError:
            return False
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        self.values = {name: float(value) for name, value in lines}
        return True

    def number(self, name):
        return self.values.get(f"headstart_{name}", 0.0)

    def leases(self):
        """Names of the workers that hold a lease."""
        held = {part for part in self.values if part.startswith("headstart_worker_lease_age_seconds")}
        numbers = {name.split('worker="')[1].split('"')[0] for name in held}
        names = set()
        for name in self.values:
            if name.startswith("headstart_worker_info") and name.split('worker="')[1].split('"')[0] in numbers:
                names.add(name.split('name="')[1].split('"')[0])
        return names


class Chaos:
    def __init__(self, output, host="127.0.0.1"):
        self.random = random.Random(SEED)
        self.output = output
        self.listen, self.admin = f"{host}:{free_port()}", f"{host}:{free_port()}"
        self.observed = Observed(self.admin)
        self.log = open(RUNS / "log", "w", encoding="utf-8")
        self.workers = []
        self.paused = {}
        self.faults = collections.Counter()
        self.in_flight = self.commits = 0
        self.recoveries = collections.defaultdict(list)
        self.waiting = None
        self.alive = self.compute = self.compute_before = 0.0
        self.lost_steps = 0
        self.coordinator = self.start_coordinator()

    def start_coordinator(self):
        return subprocess.Popen(self.coordinator_command(), stdout=self.log, stderr=self.log)

    def start_worker(self):
        return subprocess.Popen(self.worker_command(), stdout=self.log, stderr=self.log)

    def coordinator_command(self, *more):
        command = ["headstart-coordinator", RUN_FILES[RUN], "--listen", self.listen, "--admin", self.admin]
        return [*command, *settings(self.output), *more]

    def worker_command(self):
        return ["headstart-worker", "--coordinator", f"http://{self.listen}", "--device", "cpu"]

    def ended(self, worker):
        """Called once a worker has ended."""

    def holds_lease(self, worker):
        return any(name.endswith(f" {worker.pid}") for name in self.observed.leases())

    def tend(self):
        """Starts what has ended; returns whether the run goes on."""
        code = self.coordinator.poll()
        if code == 0:
            return False
        if code is not None:
            if code not in (KILLED, TERMINATED, -signal.SIGTERM):
                sys.exit(f"headstart: the coordinator ended with {code}; see {RUNS}/log")
            self.compute_before += self.compute
            self.compute = 0.0
            self.coordinator = self.start_coordinator()
        for worker in list(self.workers):
            code = worker.poll()
            if code is None:
                continue
            # A worker that has not got as far as to handle the signal is ended by it.
            if code not in (0, KILLED, TERMINATED, -signal.SIGTERM):
                sys.exit(f"headstart: a worker ended with {code}; see {RUNS}/log")
            if code == 0 and not (self.output / "final/SHA256SUMS").exists():
                sys.exit(f"headstart: a worker was dismissed before the run was over; see {RUNS}/log")
            self.workers.remove(worker)
            self.ended(worker)
        while len(self.workers) < WORKERS:
            self.workers.append(self.start_worker())
        for process, until in list(self.paused.items()):
            if time.monotonic() >= until:
                process.send_signal(signal.SIGCONT)
                del self.paused[process]
        return True

    def disturb(self):
        kind = self.random.choice(KINDS)
        target = self.random.choice(self.workers) if kind.endswith("worker") else self.coordinator
        hit = self.holds_lease(target) if target is not self.coordinator else bool(self.observed.leases())
        step = self.observed.number("step")
        if kind == "kill coordinator in a commit":
            committed = self.await_commit()
            if committed is None:
                return
            # Steps were made while the commit was waited for.
            step = max(step, committed)
        self.in_flight += hit
        signals = {"kill": signal.SIGKILL, "pause": signal.SIGSTOP, "end": signal.SIGTERM}
        target.send_signal(signals[kind.split()[0]])
        if kind.startswith("pause"):
            self.paused[target] = time.monotonic() + self.random.uniform(0.5, 8)
        else:
            # What is paused would not end.
            self.paused.pop(target, None)
            target.send_signal(signal.SIGCONT)
        self.faults[kind] += 1
        # A fault before the run has gone on adds to the wait for the first.
        self.waiting = self.waiting or (kind, time.monotonic(), step)

    def await_commit(self):
        """Waits until parts are written that no manifest names yet; returns the step that they hold."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.coordinator.poll() is None:
            manifests = {path.name[:20] for path in (self.output / "manifests").glob("*.json")}
            newest = max((int(name) for name in manifests), default=-1)
            for part in (self.output / "parts").glob("*"):
                number = part.name.split("-")[1]
                if number.isdigit() and int(number) > newest:
                    self.commits += 1
                    return int(part.name.split("-")[0])
            time.sleep(0.001)
        return None

    def watch(self, since):
        """Takes note of what the run did since it was last looked at."""
        # Until it has loaded the run, a coordinator tells nothing of it.
        if not self.observed.poll() or "headstart_step" not in self.observed.values:
            return
        self.alive += self.observed.number("workers") * since
        self.compute = self.observed.number("compute_accepted_seconds_total")
        if self.waiting:
            kind, at, step = self.waiting
            now = self.observed.number("step")
            if now < step:
                self.lost_steps += int(step - now)
                self.waiting = (kind, at, now)
            elif now > step:
                self.recoveries[kind].append(time.monotonic() - at)
                self.waiting = None

    def play(self):
        began = last = time.monotonic()
        due, moved, step = began + EVERY, began, -1
        while self.tend():
            time.sleep(POLL)
            now = time.monotonic()
            self.watch(now - last)
            last = now
            if self.observed.number("step") != step:
                moved, step = now, self.observed.number("step")
            if now - moved > PATIENCE:
                sys.exit(f"headstart: the run stands still at step {step:.0f}; see {RUNS}/log")
            if now >= due and now - began < LENGTH:
                self.disturb()
                due = now + self.random.uniform(0.5, 1.5) * EVERY
        for worker in self.workers:
            worker.send_signal(signal.SIGCONT)
            worker.terminate()
            worker.wait()
        return time.monotonic() - began


def digests(output):
    files = ("final/model.safetensors", "final/ledger.jsonl")
    return [hashlib.sha256((output / name).read_bytes()).hexdigest() for name in files]


def report(chaos, took):
    kinds = dict(sorted(chaos.faults.items()))
    recoveries = {kind: sorted(samples) for kind, samples in sorted(chaos.recoveries.items())}
    goodput = (chaos.compute_before + chaos.compute) / chaos.alive if chaos.alive else float("nan")
    found = {
        "seconds": took, "faults": kinds, "hit leases in flight": chaos.in_flight, "hit a commit": chaos.commits,
        "steps computed again": chaos.lost_steps, "goodput": goodput, "recovery seconds": recoveries,
    }
    (RUNS / "samples.json").write_text(json.dumps(found, indent=1) + "\n")
    print(f"{sum(kinds.values())} faults in {took:.0f} s; {chaos.in_flight} hit leases in flight, {chaos.commits} a commit")
    print(f"{'fault':<30} {'count':>5} {'next step after, median':>24} {'longest':>8}")
    for kind, count in kinds.items():
        samples = recoveries.get(kind, [])
        middle = f"{statistics.median(samples):.2f} s" if samples else "-"
        longest = f"{samples[-1]:.2f} s" if samples else "-"
        print(f"{kind:<30} {count:>5} {middle:>24} {longest:>8}")
    print(f"steps computed again after a coordinator's end: {chaos.lost_steps}")
    print(f"goodput: {goodput:.3f}")


def judge(chaos, took):
    """A long run of all kinds must have been as hard as it was meant to be."""
    if took < LENGTH:
        sys.exit(f"headstart: the run ended after {took:.0f} of {LENGTH:.0f} s: set STEPS higher than {STEPS}")
    usual = LENGTH / EVERY
    if chaos.in_flight < usual / 4 or chaos.commits < usual / 24:
        sys.exit("headstart: too few faults hit a lease or a commit: another SEED or SAVE_STEPS may")


def main(make=Chaos):
    os.chdir(ROOT)
    shutil.rmtree(RUNS, ignore_errors=True)
    RUNS.mkdir(parents=True)
    undisturbed, disturbed = RUNS / "undisturbed", RUNS / "disturbed"
    subprocess.run([RUN_FILES[RUN].rsplit("/", 1)[0] + {"digits": "/prepare.py", "sections": "/setup.py"}[RUN]], check=True)
    train = ["headstart", "train", RUN_FILES[RUN], "--workers", "2", *settings(undisturbed)]
    with open(RUNS / "undisturbed.log", "w", encoding="utf-8") as log:
        subprocess.run(train, check=True, stdout=log, stderr=log)
    chaos = make(disturbed)
    try:
        took = chaos.play()
    finally:
        for process in [chaos.coordinator, *chaos.workers]:
            if process.poll() is None:
                process.kill()
    report(chaos, took)
    names = ("weights", "ledger")
    for name, left, right in zip(names, digests(undisturbed), digests(disturbed)):
        print(f"{name}: {left} undisturbed, {right} disturbed")
        if left != right:
            sys.exit(f"headstart: the {name} differ")
    print("The same weights and the same ledger, byte for byte.")
    if make is Chaos and LENGTH >= 60 and not os.environ.get("KINDS"):
        judge(chaos, took)


if __name__ == "__main__":
    main()
