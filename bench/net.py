#!/usr/bin/env python3
"""Times Headstart and torchrun DDP on two hosts with a link between them, interleaved, and what each takes to the same loss.

Hosts are namespaces of networks and processes (bench/hosts.py). Host 0 runs the coordinator and a worker, host 1 another worker;
all share two cores. PHASE says what is measured:

    loss    the training loss of each step, on one host, for each wire format
    speed   step times and bytes over each link
    lora    an adapter of SmolLM2 over 100 Mbit/s, beside the same workers on one host
    all     all of it (the default)
    report  nothing

Each phase keeps what it found in runs/bench-net; a phase that measures a link again replaces what was known of that link. The
report of all that is there goes to its section of bench/RESULTS.md and to bench/net.svg.

REPEATS (5), STEPS (30), STEPS_SLOW (12, at 100 Mbit/s), LOSS_STEPS (120), LORA_STEPS (6). LINKS, WIRES and HOOKS select:
LINKS="unshaped,1 Gbit/s" WIRES="f32,int8-pull" HOOKS="none,bf16,powersgd"; -pull: weights come down instead of gradients.
LORA_WIRE (int8) is the adapter's format. DELAY is the one-way delay of the link in milliseconds (0); a delayed link has results
of its own. Needs root. The path of a Python with PyTorch and transformers is the first argument. PATH decides the programs.
"""
import datetime
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys

import net_report
import systems
from hosts import Hosts

ROOT = pathlib.Path(__file__).resolve().parent.parent
# What tc calls the rate of a link.
RATES = {"one host": None, "unshaped": None, "1 Gbit/s": "1gbit", "100 Mbit/s": "100mbit"}
SLOW = "100 Mbit/s"
BYTES_PER_SECOND = {"100 Mbit/s": 12.5e6}


def listed(name, usual):
    return [part.strip() for part in os.environ.get(name, usual).split(",") if part.strip()]


def number(name, usual):
    return int(os.environ.get(name, usual))


PHASE = os.environ.get("PHASE", "all")
WIRES = listed("WIRES", "f32,bf16,int8,f32-pull")
HOOKS = listed("HOOKS", ",".join(systems.HOOKS))
LINKS = listed("LINKS", ",".join(RATES))
REPEATS, STEPS, STEPS_SLOW = number("REPEATS", 5), number("STEPS", 30), number("STEPS_SLOW", 12)
LOSS_STEPS, LORA_STEPS = number("LOSS_STEPS", 120), number("LORA_STEPS", 6)
LORA_WIRE = os.environ.get("LORA_WIRE", "int8")
DELAY = float(os.environ.get("DELAY", 0))
LORA_RUN_FILE = "examples/assistant/run.yaml"
LORA_ROWS, LORA_MICRO_BATCH, LORA_WARM_UP = 8, 4, 2
# How many times longer an adapter's step shall compute than its bytes travel one way, with something to spare for the probe's error.
LORA_RATIO, LORA_SPARE = 10, 1.2
BYTES_PER_ELEMENT = {"f32": 4, "bf16": 2, "int8": 1 + 1 / 256}


def say(words):
    print(words, file=sys.stderr, flush=True)


def keep(phase, found):
    path = systems.RUNS / f"{phase}.json"
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def known(phase):
    path = systems.RUNS / f"{phase}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def loss(hosts, torch):
    """The loss of each step, for each format."""
    settings = systems.sections(LOSS_STEPS, 30)
    found = known("loss")
    if found.get("steps") != LOSS_STEPS:
        found = {"steps": LOSS_STEPS, "losses": {}}
    wires = dict.fromkeys(name.partition("-")[0] for name in WIRES)
    runs = {net_report.ours(wire): lambda wire=wire: systems.headstart(hosts, [0, 0], {**settings, "wire": wire}, drop=0)
            for wire in wires}
    runs |= {systems.HOOKS[hook]: lambda hook=hook: torch.ddp(hosts, [0, 0], settings, hook, "loss", drop=0) for hook in HOOKS}
    for name, run in runs.items():
        found["losses"][name] = [step["loss"] for step in run().steps]
        keep("loss", found)
        say(f"{name}: loss {found['losses'][name][-1]:.3f} after {LOSS_STEPS} steps")


def cases(hosts, torch, link, settings):
    """What runs over a link, by name."""
    where = [0, 0] if link == "one host" else [0, 1]
    # On one host nothing travels, so there the ways down are alike.
    ours = [name for name in WIRES if link != "one host" or not name.endswith("-pull")]
    found = {net_report.ours(name): lambda name=name: systems.headstart(hosts, where, {**settings, **systems.variant(name)})
             for name in ours}
    found |= {systems.HOOKS[hook]: lambda hook=hook: torch.ddp(hosts, where, settings, hook, "speed") for hook in HOOKS}
    if link in ("one host", SLOW):
        # What the subset of the workers that is fastest where the link is slow makes.
        for wire in dict.fromkeys(name.partition("-")[0] for name in WIRES):
            found[net_report.ours(wire) + net_report.ALONE] = lambda wire=wire: systems.headstart(
                hosts, [0], {**settings, **systems.variant(wire)})
    return found


def speed(hosts, torch):
    """Step times and bytes a step, for each link and system."""
    measured = {link: {} for link in LINKS}
    for repeat in range(REPEATS):
        for link in LINKS:
            steps = STEPS_SLOW if link == SLOW else STEPS
            hosts.shape(RATES[link])
            for name, run in cases(hosts, torch, link, systems.sections(steps, 4)).items():
                outcome = run()
                entry = measured[link].setdefault(name, {"step_time": [], "sent": [], "received": []})
                entry["step_time"] += [step["step_time"] for step in outcome.steps]
                entry["sent"].append(outcome.sent)
                entry["received"].append(outcome.received)
                rate = systems.ROWS_PER_STEP / statistics.median(entry["step_time"])
                say(f"repeat {repeat + 1} of {REPEATS}, {link}: {name}: {rate:.1f} samples/s")
            day = {"date": str(datetime.date.today()), "repeats": repeat + 1, "steps": steps}
            found = known("speed")
            found[delayed(link)] = {**day, "systems": measured[link]}
            keep("speed", found)
    hosts.shape(None)


def delayed(link):
    """A link's name with its delay, so that both forms have results of their own."""
    return f"{link}, {DELAY:g} ms" if DELAY and link != "one host" else link


def lora_settings(rows):
    return {
        "max_steps": LORA_STEPS, "global_batch_size": rows, "per_device_train_batch_size": LORA_MICRO_BATCH, "shards_per_step": 2,
        "warmup_steps": 0, "eval_strategy": "no", "eval_datasets": "null", "eval_on_start": "false", "save_strategy": "no",
        **systems.variant(LORA_WIRE),
    }


def lora(hosts, _):
    """An adapter's speed with the slow link and without, at a step that computes long enough."""
    planning = ["headstart", "plan", LORA_RUN_FILE, "--format", "json", "--samples-per-second", "1", "--bandwidth", "1e9"]
    plan = json.loads(subprocess.run(planning, check=True, capture_output=True, text=True).stdout)
    elements = plan["trainable_parameters"]
    travel = elements * BYTES_PER_ELEMENT[LORA_WIRE] / BYTES_PER_SECOND[SLOW]

    def train(where, rows):
        return systems.headstart(hosts, where, lora_settings(rows), LORA_RUN_FILE, LORA_WARM_UP)

    hosts.shape(RATES[SLOW])
    probe = statistics.mean(step["step_time"] for step in train([0, 0], LORA_ROWS).steps)
    rows = LORA_ROWS * math.ceil(LORA_RATIO * LORA_SPARE * travel / probe)
    say(f"LoRA: {LORA_ROWS} rows take {probe:.1f} s, {LORA_WIRE} travels {travel:.2f} s: steps of {rows} rows")
    found = {"date": str(datetime.date.today()), "wire": LORA_WIRE, "rows": rows, "elements": elements, "repeats": 0, "link": delayed(SLOW)}
    found |= {"steps": LORA_STEPS, "without": [], "with": [], "sent": [], "received": []}
    for repeat in range(REPEATS):
        for name, where in (("without", [0, 0]), ("with", [0, 1])):
            outcome = train(where, rows)
            # Rows differ in length: the same steps, all together, are compared.
            found[name].append(statistics.mean(step["step_time"] for step in outcome.steps))
            say(f"repeat {repeat + 1} of {REPEATS}: LoRA {name} the network: {found[name][-1]:.2f} s a step")
        found["sent"].append(outcome.sent)
        found["received"].append(outcome.received)
        found["repeats"] = repeat + 1
        keep("lora", found)
    hosts.shape(None)


def main():
    os.chdir(ROOT)
    phases = {"loss": loss, "speed": speed, "lora": lora}
    chosen = {"all": phases, "report": []}.get(PHASE, [PHASE])
    unknown = [link for link in LINKS if link not in RATES] + [hook for hook in HOOKS if hook not in systems.HOOKS]
    unknown += [phase for phase in chosen if phase not in phases]
    if unknown:
        sys.exit(f"headstart: not known: {', '.join(unknown)}")
    if chosen:
        with Hosts(DELAY) as hosts:
            torch = systems.Torch(sys.argv[1])
            for phase in chosen:
                phases[phase](hosts, torch)
    net_report.write(*(known(phase) for phase in phases))


if __name__ == "__main__":
    main()
