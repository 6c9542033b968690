#!/usr/bin/env python3
"""kill -9 one of three workers in the middle of a run, and compare the weights with those of an undisturbed run."""
import hashlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
DIGITS = pathlib.Path("examples/digits")
HEAD_START = pathlib.Path("runs/zero_to_four")
RUNS = pathlib.Path("runs/kill")
WORKERS = 3
# Long enough that half of it is the middle of training rather than start-up.
STEPS = 300


def train(run_file, *arguments):
    return ["headstart", "train", str(DIGITS / run_file), "--set", "eval_strategy=no", *arguments]


def command(output):
    settings = [f"output_dir={output}", f"max_steps={STEPS}", "eval_on_start=false"]
    return train("finetune.yaml", "--workers", str(WORKERS), *(part for key in settings for part in ("--set", key)))


def workers_of(parent):
    """Process ids of the running workers that `parent` started."""
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = stat.read_text().split(" (", 1)
        except (FileNotFoundError, ProcessLookupError):
            continue
        name, fields = rest.rsplit(") ", 1)
        state, ppid = fields.split()[:2]
        # The kernel keeps 15 characters of a name.
        if int(ppid) == parent and name == "headstart-worker"[:15] and state != "Z":
            found.append(int(pid))
    return sorted(found)


def sha256(output):
    return hashlib.sha256((output / "final/model.safetensors").read_bytes()).hexdigest()


def undisturbed(output):
    started = time.monotonic()
    subprocess.run(command(output), check=True)
    return time.monotonic() - started


def disturbed(output, kill_after):
    run = subprocess.Popen(command(output))
    try:
        run.wait(timeout=kill_after)
        sys.exit("headstart: the run was over before a worker could be killed")
    except subprocess.TimeoutExpired:
        workers = workers_of(run.pid)
    if len(workers) != WORKERS:
        run.terminate()
        sys.exit(f"headstart: {len(workers)} workers are running, expected {WORKERS}")
    os.kill(workers[0], signal.SIGKILL)
    print(f"killed worker process {workers[0]} after {kill_after:.1f} s", flush=True)
    if run.wait() != 0:
        sys.exit(f"headstart: the run ended with exit code {run.returncode}")


def main():
    os.chdir(ROOT)
    if not (DIGITS / "data").is_dir():
        subprocess.run([sys.executable, str(DIGITS / "prepare.py")], check=True)
    if not (HEAD_START / "final").is_dir():
        shutil.rmtree(HEAD_START, ignore_errors=True)
        subprocess.run(train("pretrain.yaml"), check=True)
    shutil.rmtree(RUNS, ignore_errors=True)

    duration = undisturbed(RUNS / "undisturbed")
    disturbed(RUNS / "disturbed", duration / 2)
    hashes = [sha256(RUNS / name) for name in ("undisturbed", "disturbed")]
    for name, digest in zip(("undisturbed", "one worker killed"), hashes):
        print(f"{digest}  {name}")
    if hashes[0] != hashes[1]:
        sys.exit("headstart: the weights differ")
    print("The same weights, bit for bit.")


if __name__ == "__main__":
    main()
