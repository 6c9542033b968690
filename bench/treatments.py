#!/usr/bin/env python3
"""When does it pay to choose what is transferred? `freeze`, `layer_decay`, `unfreeze` and `l2_sp` beside plain fine-tuning, on
examples/sections (MiniLM) and on examples/digits (from a network that learned the digits 0 to 4), with few rows and with many. Of the
digits it is also asked what the network still knows of 0 to 4 afterwards: `headstart probe` on their rows.

What each run gave is kept in runs/bench-treatments, so a bench that was interrupted goes on. The table goes to its section of
bench/RESULTS.md.

SEEDS="1,2,3" TASKS="sections,digits". PATH decides the programs.
"""
import itertools
import json
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys

import results
from program import headstart, sets

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUNS = pathlib.Path("runs/bench-treatments")
FOUND = RUNS / "found.json"
SEEDS = [int(number) for number in os.environ.get("SEEDS", "1,2,3").split(",")]
TASKS = os.environ.get("TASKS", "sections,digits").split(",")
# Rows for each label: few, and many; None: all that there are.
ROWS = {"sections": [10], "digits": [8, None]}
STEPS = {"sections": 150, "digits": 150}
LEARNING_RATE = {"sections": 1e-4, "digits": 1e-3}
# The task before.
OLD = {"digits": "examples/digits/pretrain.yaml"}
PLAIN = "everything trains alike"
TREATMENTS = {
    PLAIN: {},
    "freeze: embeddings": {"freeze": ["*embeddings*"]},
    "layer_decay: 0.75": {"layer_decay": 0.75},
    "layer_decay: 0.5": {"layer_decay": 0.5},
    "learning_rate × 3": {"faster": 3},
    "layer_decay: 0.75, learning_rate × 3": {"layer_decay": 0.75, "faster": 3},
    "unfreeze: the layers at step 30": {"unfreeze": [{"step": 30, "parameters": ["*embeddings*", "*.layer.*"]}]},
    "l2_sp: 10": {"l2_sp": 10, "weight_decay": 0},
    "l2_sp: 100": {"l2_sp": 100, "weight_decay": 0},
}


def few_texts(count):
    """The first `count` rows of each label, in an order that a seed decides."""
    path = RUNS / f"sections-{count}.jsonl"
    with open("examples/sections/data/train.jsonl", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    random.Random(1).shuffle(rows)
    kept = [row for label in sorted({row["label"] for row in rows}) for row in [one for one in rows if one["label"] == label][:count]]
    path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    return [{"path": str(path), "text_column": "text", "label_column": "label"}]


def few_images(count):
    folder = RUNS / f"digits-{count}"
    shutil.rmtree(folder, ignore_errors=True)
    for label in sorted(pathlib.Path("examples/digits/data/five_to_nine/train").iterdir()):
        (folder / label.name).mkdir(parents=True)
        for image in sorted(label.iterdir())[:count]:
            shutil.copy(image, folder / label.name)
    return [{"path": str(folder)}]


def start(task):
    """A run file, and settings that a task needs besides."""
    if task == "sections":
        return "examples/sections/run.yaml", {}
    if not pathlib.Path("examples/digits/data").exists():
        subprocess.run([sys.executable, "examples/digits/prepare.py"], check=True)
    checkpoint = RUNS / "zero_to_four"
    if not (checkpoint / "final").exists():
        headstart(RUNS, "train", "examples/digits/pretrain.yaml", "--workers", 2, "--set", f"output_dir={checkpoint}")
    return "examples/digits/finetune.yaml", {"base_model": str(checkpoint / "final"), "eval_on_start": False}


def train(task, rows, treatment, seed):
    """Accuracy on the evaluation rows after the last step; and that of the old task, as its probe finds it, where there is one."""
    run_file, settings = start(task)
    treatment = dict(treatment)
    settings["learning_rate"] = LEARNING_RATE[task] * treatment.pop("faster", 1)
    if rows is not None:
        settings["datasets"] = (few_texts if task == "sections" else few_images)(rows)
    output = RUNS / "run"
    shutil.rmtree(output, ignore_errors=True)
    settings |= {
        "output_dir": str(output), "max_steps": STEPS[task], "warmup_steps": STEPS[task] // 10, "eval_steps": STEPS[task],
        "save_strategy": "no", "seed": seed, "shards_per_step": 2, "per_device_train_batch_size": 16, "probe": False, **treatment,
    }
    headstart(RUNS, "train", run_file, "--workers", 2, *sets(settings))
    with open(output / "final/metrics.jsonl", encoding="utf-8") as lines:
        accuracies = [line["eval_accuracy"] for line in map(json.loads, lines) if "eval_accuracy" in line]
    return {"accuracy": accuracies[-1], **({"old": probe(task, output / "final")} if task in OLD else {})}


def probe(task, checkpoint):
    """How many left-out rows of the old task a linear classifier tells apart by what the network sees in them."""
    output = headstart(RUNS, "probe", OLD[task], "--checkpoint", checkpoint, "--workers", 2, "--json", *sets({"init": "pretrained"}))
    [found] = json.loads(output)
    return found["accuracy"]


def cell(values):
    return f"{100 * statistics.mean(values):.1f} % ({100 * min(values):.1f} to {100 * max(values):.1f})"


def report(found):
    columns = [(task, rows, "accuracy") for task in TASKS for rows in ROWS[task]]
    columns += [(task, rows, "old") for task, rows, _ in columns if task in OLD]
    words = {"accuracy": "", "old": ": what is left of 0 to 4"}
    header = ["", *(f"{task}, {'all rows' if rows is None else f'{rows} rows a label'}{words[what]}" for task, rows, what in columns)]
    rows = [
        [
            f"`{name}`" if treatment else name,
            *(cell([found[f"{task} {rows} {name} {seed}"][what] for seed in SEEDS]) for task, rows, what in columns),
        ]
        for name, treatment in TREATMENTS.items()
    ]
    left = ""
    if "digits" in TASKS:
        before = probe("digits", RUNS / "zero_to_four/final")
        left = f"""What is left of 0 to 4: the
share of their left-out rows that a linear classifier tells apart by the network's features afterwards (`accuracy` of `headstart probe`);
before, it is {100 * before:.1f} %."""
    results.replace("treatments", f"""## When it pays to choose what is transferred

{results.written_by("make bench-treatments")}

Accuracy after {STEPS["sections"]} steps of 32 rows: means over the seeds {", ".join(map(str, SEEDS))}, in brackets the range over them. sections: MiniLM,
learning rate 1e-4; digits: the digits 5 to 9 from a network that learned 0 to 4, learning rate 1e-3. {left}

{results.table(header, rows)}
""")


def main():
    os.chdir(ROOT)
    RUNS.mkdir(parents=True, exist_ok=True)
    found = json.loads(FOUND.read_text(encoding="utf-8")) if FOUND.exists() else {}
    for task in TASKS:
        for rows, (name, treatment), seed in itertools.product(ROWS[task], TREATMENTS.items(), SEEDS):
            key = f"{task} {rows} {name} {seed}"
            if key not in found:
                found[key] = train(task, rows, treatment, seed)
                FOUND.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            print(f"{key}: {found[key]}", file=sys.stderr, flush=True)
    report(found)


if __name__ == "__main__":
    main()
