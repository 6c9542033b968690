"""What bench/net.py found, as a section of bench/RESULTS.md and as a plot."""
import pathlib
import statistics

import chart
import results
from systems import POWERSGD_START, ROWS_PER_STEP, WARM_UP

PLOT = pathlib.Path("bench/net.svg")
ALONE = ", one worker alone"
# Steps whose losses are averaged, one after the other.
SMOOTH = 20
DDP_BEST = ("DDP f32", "DDP bf16 hook")


def is_alone(name):
    return name.endswith(ALONE)


def ours(variant):
    """The name of a variant of WIRES. A hook of HOOKS may be spelt the same."""
    wire, _, pull = variant.partition("-")
    return f"Headstart {wire}{', weights down' if pull else ''}"


def smooth(losses):
    return [statistics.mean(losses[end - SMOOTH : end]) for end in range(SMOOTH, len(losses) + 1)]


def steps_to_loss(losses):
    """The lowest smoothed loss that every system reaches, and the steps each takes to it: (loss, {system: steps})."""
    curves = {name: smooth(values) for name, values in losses.items()}
    if not curves or not all(curves.values()):
        return None, {}
    goal = max(min(curve) for curve in curves.values())
    reached = {name: next(step for step, value in enumerate(curve, SMOOTH) if value <= goal) for name, curve in curves.items()}
    return goal, reached


def medians(speed):
    """{link: {system: median step time}}"""
    return {
        link: {name: statistics.median(entry["step_time"]) for name, entry in found["systems"].items()}
        for link, found in speed.items()
    }


def ordered(times):
    """All systems, ours first."""
    names = dict.fromkeys(name for systems in times.values() for name in systems)
    return sorted(names, key=lambda name: (not name.startswith("Headstart"), is_alone(name)))


def speed_table(times):
    rows = []
    for name in ordered(times):
        row = [name]
        for link, systems in times.items():
            if name not in systems:
                row.append("–")
                continue
            rivals = [systems[rival] for rival in DDP_BEST if rival in systems]
            ratio = f" ({min(rivals) / systems[name]:.2f}×)" if rivals and name not in DDP_BEST else ""
            row.append(f"{ROWS_PER_STEP / systems[name]:.1f}{ratio}")
        rows.append(row)
    return results.table(["samples/s", *times], rows)


def bytes_table(speed, times):
    def entry(link, name):
        found = speed[link]["systems"].get(name)
        if not found or None in found["sent"]:
            return "–"
        return " / ".join(f"{statistics.median(found[way]) / 1e6:.1f}" for way in ("sent", "received"))

    links = [link for link in times if link != "one host"]
    rows = [[name, *(entry(link, name) for link in links)] for name in ordered(times)]
    return results.table(["MB a step, from host 1 / to it", *links], [row for row in rows if set(row[1:]) != {"–"}])


def own_table(times):
    """Our speed over a link as a part of that on one host, and of that of one worker alone in the same format: measured on the same
    link where it was, else on one host."""
    one_host = times.get("one host", {})
    rows = []
    for name in ordered(times):
        # On one host nothing travels, so both ways down are one.
        wire = name.partition(",")[0]
        memory = one_host.get(wire)
        if name.startswith("Headstart") and not is_alone(name) and memory:
            alone = [systems.get(wire + ALONE) or one_host.get(wire + ALONE) for systems in times.values()]
            own = [(memory / systems[name], best and best / systems[name]) if name in systems else None
                   for systems, best in zip(times.values(), alone)]
            rows.append([name, *("–" if not ratios else " / ".join(f"{ratio:.2f}" if ratio else "–" for ratio in ratios) for ratios in own)])
    return results.table(["of one host / of one worker alone", *times], rows) if rows else ""


def goal_table(times, reached):
    rows = []
    for name in ordered(times):
        # How weights come down does not change them.
        steps = reached.get(name.partition(",")[0])
        if steps is None or is_alone(name):
            continue
        cells = [f"{steps * systems[name]:.0f} s" if name in systems else "–" for systems in times.values()]
        rows.append([name, steps, *cells])
    return results.table(["", "steps", *times], rows)


def colours(names):
    ours = [name for name in names if name.startswith("Headstart") and not is_alone(name)]
    theirs = [name for name in names if not name.startswith("Headstart")]
    found = dict(zip(ours, chart.BLUES * len(ours))) | {name: chart.GREY for name in names if is_alone(name)}
    return found | dict(zip(theirs, chart.ORANGES * len(theirs)))


def speed_text(speed):
    times = medians(speed)
    title = "Two workers, MiniLM full fine-tuning: samples per second by link"
    groups = [(link, {name: ROWS_PER_STEP / took for name, took in systems.items()}) for link, systems in times.items()]
    chart.bars(PLOT, title, ("link between the two hosts", "samples/s"), groups, colours(ordered(times)))
    counts = "; ".join(f"{link}: {found['repeats']} × {found['steps']} steps on {found['date']}" for link, found in speed.items())
    return f"""Samples a second, from the median step time. In brackets: ratio to DDP's best, the faster of f32 and the bf16 hook on the same link.
The first {WARM_UP} steps of each run are dropped. Runs: {counts}.

{speed_table(times)}

![Samples per second by link]({PLOT.name})

Headstart's speed as a part of its own without a network, and of one worker's alone in the same format:

{own_table(times)}

Bytes a step, of the interface counters of host 1:

{bytes_table(speed, times)}"""


def loss_text(loss, speed):
    goal, reached = steps_to_loss(loss.get("losses", {}))
    if goal is None:
        return ""
    return f"""Time to the same loss: steps × median step time. The goal is a training loss of {goal:.3f}, the mean of {SMOOTH} steps, the
lowest that all reach in a schedule of {loss['steps']} steps; PowerSGD compresses from step {POWERSGD_START['loss']} on, and the
longer steps before are not counted. Bits don't depend on the link, so steps are counted once for each format, on one host.

{goal_table(medians(speed), reached)}"""


def lora_text(lora):
    if not lora.get("repeats"):
        return ""
    without, over = statistics.median(lora["without"]), statistics.median(lora["with"])
    sent, received = (statistics.median(lora[way]) / 1e6 for way in ("sent", "received"))
    travel = sent * 1e6 / 12.5e6
    return f"""LoRA of SmolLM2-135M (r 16, all linear layers, {lora['elements']:,} trainable parameters) on `examples/assistant`, wire {lora['wire']}, {lora['rows']} rows
a step, medians of {lora['repeats']} runs of {lora['steps']} steps on {lora['date']}:

{results.table(["two workers", "s a step", "rows/s", "ratio"], [
    ["on one host", f"{without:.2f}", f"{lora['rows'] / without:.2f}", ""],
    [lora["link"], f"{over:.2f}", f"{lora['rows'] / over:.2f}", f"{without / over:.2f}×"],
])}

A step computes {without:.2f} s without a network; host 1's {sent:.1f} MB travel {travel:.2f} s one way, {without / travel:.1f} times less. {received:.1f} MB come down."""


def write(loss, speed, lora):
    """Writes section and plot of what is known."""
    parts = [f"""## Two hosts and a link

{results.written_by("make bench-net")}

Hosts are namespaces of networks and processes on this machine, joined by a veth pair whose ends are both shaped (tbf); all processes,
the coordinator's too, share the same two cores, one thread each. MiniLM (22.7 M parameters), full fine-tuning on
`examples/sections`, global batch {ROWS_PER_STEP} in V = 2 shards, clipping at 1.0, dropout on, AdamW (fused in PyTorch). DDP: torchrun over
gloo, the same rows in the same order; PowerSGD of rank 8 with error feedback, from step {POWERSGD_START['speed']} on. Runs are interleaved.
"On one host" the workers reach the coordinator's memory, and DDP goes over loopback."""]
    if speed:
        parts += [speed_text(speed), loss_text(loss, speed)]
    parts.append(lora_text(lora))
    text = "\n\n".join(part for part in parts if part)
    results.replace("net", text)
    print(text)
