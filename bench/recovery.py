#!/usr/bin/env python3
"""How long a run stands still after a death, and what committing costs: digits and sections, with real processes.

    WORKER_KILLS=20 COORDINATOR_KILLS=10 COMMIT_STEPS=210 bench/recovery.py

1. kill -9 of one of three workers while it holds a lease: seconds until the next step starts.
2. kill -9 of the coordinator, started again at once, with a commit every five steps: seconds until the next commit.
3. A commit every 50 steps: time that the steps after one take longer than the others, per 50 steps. The steps of one run are
   compared with each other, since two runs differ by more than a commit costs. Once with a worker fewer than there are cores,
   so that one is left to the coordinator, and once with a worker on each.

Raw samples go to runs/bench-recovery/samples.json.
"""
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUNS = ROOT / "runs/bench-recovery"
WORKER_KILLS = int(os.environ.get("WORKER_KILLS", 20))
COORDINATOR_KILLS = int(os.environ.get("COORDINATOR_KILLS", 10))
COMMIT_STEPS = int(os.environ.get("COMMIT_STEPS", 210))
COMMIT_EVERY = 50
# Of the sections example.
SHARDS = 8
# Steps after a commit that may be slower: it is written while they go on.
AFTER = 10
PATIENCE = 60

os.environ.update({"STEPS": "1000000", "SAVE_STEPS": "5", "RUNS": str(RUNS / "digits")})
sys.path.insert(0, str(ROOT / "scripts"))
import chaos  # noqa: E402  (it reads the variables above)


def until(what, question):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        answer = question()
        if answer:
            return answer
        time.sleep(0.002)
    sys.exit(f"headstart: waited {PATIENCE} s for this: {what}; see {chaos.RUNS}/log")


class Run(chaos.Chaos):
    def step(self):
        self.observed.poll()
        return self.observed.number("step")

    def settle(self):
        """Waits until three workers have done some steps together."""
        def ready():
            self.tend()
            return self.observed.poll() and self.observed.number("workers") == chaos.WORKERS
        until("all workers are there", ready)
        start = self.step()
        until("the run goes on", lambda: self.step() > start + 10)

    def worker_death(self):
        self.settle()
        def holder():
            self.observed.poll()
            return next((worker for worker in self.workers if self.holds_lease(worker)), None)
        victim = until("a worker holds a lease", holder)
        step = self.step()
        victim.kill()
        killed = time.monotonic()
        until("the next step", lambda: self.step() > step)
        return time.monotonic() - killed

    def committed(self):
        newest = max((self.output / "manifests").glob("*.json"))
        try:
            return json.loads(newest.read_text())["manifest"]["state"]["standing"]["version"]
        except ValueError:
            # It is being written.
            return 0

    def coordinator_death(self):
        self.settle()
        committed = self.committed()
        self.coordinator.kill()
        killed = time.monotonic()
        self.coordinator.wait()
        self.tend()
        until("the next commit", lambda: self.committed() > committed)
        return time.monotonic() - killed


def deaths():
    shutil.rmtree(chaos.RUNS, ignore_errors=True)
    chaos.RUNS.mkdir(parents=True)
    subprocess.run(["examples/digits/prepare.py"], check=True, stdout=subprocess.DEVNULL)
    run = Run(chaos.RUNS / "run")
    try:
        workers = [run.worker_death() for _ in range(WORKER_KILLS)]
        coordinators = [run.coordinator_death() for _ in range(COORDINATOR_KILLS)]
    finally:
        for process in [*run.workers, run.coordinator]:
            process.kill()
    return workers, coordinators


def commit_cost(workers):
    """Of each commit, the extra time of the steps after it, as a part of the time of 50 steps."""
    output = RUNS / "sections"
    shutil.rmtree(output, ignore_errors=True)
    subprocess.run(["examples/sections/setup.py"], check=True, stdout=subprocess.DEVNULL)
    keys = {"output_dir": output, "max_steps": COMMIT_STEPS, "save_steps": COMMIT_EVERY, "eval_strategy": "no", "save_total_limit": 1}
    sets = [part for key, value in keys.items() for part in ("--set", f"{key}={value}")]
    with open(RUNS / "sections.log", "w", encoding="utf-8") as log:
        command = ["headstart", "train", "examples/sections/run.yaml", "--workers", str(workers), *sets]
        subprocess.run(command, check=True, stdout=log, stderr=log)
    lines = [json.loads(line) for line in open(output / "final/metrics.jsonl", encoding="utf-8")]
    took = {line["step"]: line["step_time"] for line in lines if "step_time" in line}
    after = {step: (step - 1) % COMMIT_EVERY < AFTER and step > COMMIT_EVERY for step in took}
    usual = statistics.mean(time for step, time in took.items() if not after[step])
    commits = range(COMMIT_EVERY, COMMIT_STEPS - AFTER, COMMIT_EVERY)
    extra = [sum(took[commit + step] - usual for step in range(1, AFTER + 1)) for commit in commits]
    return usual, [seconds / (COMMIT_EVERY * usual) for seconds in extra]


def main():
    os.chdir(ROOT)
    RUNS.mkdir(parents=True, exist_ok=True)
    workers, coordinators = deaths()
    # More workers than shards of a step would have nothing to do.
    cores = min(os.cpu_count(), SHARDS)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    commits = {number: commit_cost(number) for number in sorted({max(cores - 1, 1), cores}) if COMMIT_STEPS}
    samples = {"worker": workers, "coordinator": coordinators, "commit": commits}
    (RUNS / "samples.json").write_text(json.dumps(samples, indent=1) + "\n")
    for what, found in [("a worker's death to the next step", workers), ("a coordinator's death to the next commit", coordinators)]:
        if found:
            print(f"{what}: median {statistics.median(found):.2f} s, longest {max(found):.2f} s, of {len(found)}")
    for number, (usual, costs) in commits.items():
        each = ", ".join(f"{100 * cost:+.1f} %" for cost in costs)
        print(f"a commit every {COMMIT_EVERY} steps of {usual:.2f} s, {number} workers on {cores} cores: "
              f"mean {100 * statistics.mean(costs):+.2f} %, median {100 * statistics.median(costs):+.2f} % ({each})")


if __name__ == "__main__":
    main()
