"""How the systems that bench/net.py compares are run: Headstart and torchrun DDP, on one host or across two."""
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

from hosts import ADDRESSES, DEVICE

RUNS = pathlib.Path("runs/bench-net")
RUN_FILE = "examples/sections/run.yaml"
DATA = "examples/sections/data/train.jsonl"
ROWS_PER_STEP = 32
PORT = 7070
# The first steps of a run are dropped. DDP builds its buckets anew in one of them, and PowerSGD compresses from the next on.
WARM_UP = 5
POWERSGD_START = {"speed": 4, "loss": 10}
LONGEST_RUN = 3600
SAMPLE = 0.05
# What a worker logs when it and the coordinator don't find each other's memory: with the first pull, or the first push.
OUT_OF_REACH = ("the coordinator's memory is out of reach", "gradients go over the network")
HOOKS = {"none": "DDP f32", "bf16": "DDP bf16 hook", "powersgd": "DDP PowerSGD"}


@dataclasses.dataclass
class Outcome:
    """What a run showed after its first WARM_UP steps."""

    # {"step", "time", "step_time", "loss"} of each step
    steps: list
    # Bytes a step that host 1 sent and received; None on one host.
    sent: float = None
    received: float = None


def sets(settings):
    return [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]


def variant(name):
    """Settings of a variant: a wire format, with `-pull` where weights come down instead of gradients."""
    wire, _, pull = name.partition("-")
    if pull not in ("", "pull"):
        sys.exit(f"headstart: WIRES: {name} is no wire format, and does not end with -pull")
    return {"wire": wire, **({"cluster.replicas": "false"} if pull else {})}


def batch(rows):
    """Settings of a step of two shards."""
    return {"global_batch_size": rows, "shards_per_step": 2, "per_device_train_batch_size": rows // 2}


def sections(steps, warm_up):
    """Settings of both phases on the sections example."""
    evaluation = {"eval_strategy": "no", "eval_datasets": "null", "save_strategy": "no"}
    return {**evaluation, **batch(ROWS_PER_STEP), "max_steps": steps, "warmup_steps": warm_up, "max_grad_norm": 1.0}


def metrics(path):
    with open(path, encoding="utf-8") as file:
        return [line for line in map(json.loads, file) if "loss" in line]


def wait(hosts, processes, logs):
    """Waits for all; returns [(Unix time, received, sent)] of host 1's side of the link. Processes end with their hosts."""
    samples, deadline = [], time.monotonic() + LONGEST_RUN
    while any(process.poll() is None for process in processes):
        failed = next((place for place, process in enumerate(processes) if process.poll()), None)
        if failed is not None:
            sys.exit(f"headstart: exit code {processes[failed].returncode} of a process: see {logs[failed]}")
        if time.monotonic() > deadline:
            sys.exit(f"headstart: a run took more than {LONGEST_RUN} s: see {', '.join(map(str, logs))}")
        samples.append((time.time(), *hosts.counters(1)))
        time.sleep(SAMPLE)
    if any(process.returncode for process in processes):
        sys.exit(f"headstart: a process of a run failed: see {', '.join(map(str, logs))}")
    return samples


def at(samples, moment):
    """The two counters at a moment between two samples."""
    for (before, *first), (after, *second) in zip(samples, samples[1:]):
        if before <= moment <= after:
            part = (moment - before) / (after - before)
            return [low + part * (high - low) for low, high in zip(first, second)]
    return samples[-1][1:]


def outcome(steps, samples, two_hosts, drop=WARM_UP):
    kept = steps[drop:]
    if not kept:
        sys.exit(f"headstart: a run of {len(steps)} steps is too short: the first {drop} are dropped")
    if not two_hosts:
        return Outcome(kept)
    received, sent = (
        (after - before) / len(kept)
        for before, after in zip(at(samples, steps[drop - 1]["time"]), at(samples, kept[-1]["time"]))
    )
    return Outcome(kept, sent=sent, received=received)


def headstart(hosts, where, settings, run_file=RUN_FILE, drop=WARM_UP):
    """Trains with the coordinator on host 0 and a worker on each host that `where` names. Returns an Outcome."""
    output = RUNS / "run"
    shutil.rmtree(output, ignore_errors=True)
    settings = {**settings, "output_dir": output, "threads_per_worker": 1, "cluster.min_workers": len(where)}
    address = f"{ADDRESSES[0]}:{PORT}"
    logs = [RUNS / "coordinator.log", *(RUNS / f"worker{number}.log" for number in range(len(where)))]
    processes = [hosts.start(0, ["headstart-coordinator", run_file, "--listen", address, *sets(settings)], logs[0])]
    worker = ["headstart-worker", "--coordinator", f"http://{address}", "--device", "cpu"]
    processes += [hosts.start(host, worker, log) for host, log in zip(where, logs[1:])]
    samples = wait(hosts, processes, logs)
    for host, log in zip(where, logs[1:]):
        text = log.read_text(encoding="utf-8")
        if any(words in text for words in OUT_OF_REACH) != (host != 0):
            sys.exit(f"headstart: a worker {'found' if host else 'did not find'} the coordinator's memory on host {host}: see {log}")
    return outcome(metrics(output / "final/metrics.jsonl"), samples, 1 in where, drop)


class Torch:
    """torchrun DDP over gloo with the rows and first weights that Headstart has."""

    def __init__(self, python):
        self.python = python
        self.start = RUNS / "start"
        RUNS.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.start, ignore_errors=True)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(["headstart", "init", RUN_FILE, str(self.start)], check=True, **quiet)

    def rows(self, settings):
        """A file with the rows of each step."""
        path = RUNS / f"rows-{settings['max_steps']}.jsonl"
        command = ["headstart", "rows", RUN_FILE, "--steps", str(settings["max_steps"]), *sets(settings)]
        with open(path, "w", encoding="utf-8") as rows:
            subprocess.run(command, check=True, stdout=rows)
        return path

    def ddp(self, hosts, where, settings, hook, phase, drop=WARM_UP):
        """Trains one rank for each host that `where` names, with one thread each. Returns an Outcome."""
        found = RUNS / "ddp.jsonl"
        found.unlink(missing_ok=True)
        script = ["bench/pytorch.py", "--weights", str(self.start), "--data", DATA, "--rows", str(self.rows(settings))]
        script += ["--threads", "1", "--hook", hook, "--powersgd-start", str(POWERSGD_START[phase])]
        script += ["--warmup-steps", str(settings["warmup_steps"]), "--metrics", str(found)]
        across = len(set(where)) > 1
        nodes = sorted(set(where))
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        environment["GLOO_SOCKET_IFNAME"] = DEVICE if across else "lo"
        logs = [RUNS / f"ddp{host}.log" for host in nodes]
        processes = []
        for host, log in zip(nodes, logs):
            launch = [self.python, "-m", "torch.distributed.run", "--nnodes", str(len(nodes)), "--node-rank", str(host)]
            launch += ["--nproc-per-node", str(where.count(host)), "--master-addr", ADDRESSES[0], "--local-addr", ADDRESSES[host]]
            processes.append(hosts.start(host, [*launch, *script], log, environment))
        samples = wait(hosts, processes, logs)
        return outcome(metrics(found), samples, across, drop)
