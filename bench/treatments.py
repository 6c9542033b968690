#!/usr/bin/env python3
"""When does it pay to choose what is transferred? `freeze`, `layer_decay`, `unfreeze` and `l2_sp` beside plain fine-tuning, on
examples/sections (MiniLM) and on examples/digits (from a network that learned the digits 0 to 4), with few rows and with many.

Each run's accuracy is kept in runs/bench-treatments, so a bench that was interrupted goes on. The table goes to its section of
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

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUNS = pathlib.Path("runs/bench-treatments")
FOUND = RUNS / "found.json"
SEEDS = [int(number) for number in os.environ.get("SEEDS", "1,2,3").split(",")]
TASKS = os.environ.get("TASKS", "sections,digits").split(",")
# Rows for each label: few, and many; None: all that there are.
ROWS = {"sections": [10], "digits": [8, None]}
STEPS = {"sections": 150, "digits": 150}
PLAIN = "everything trains alike"
TREATMENTS = {
    PLAIN: {},
    "freeze: embeddings": {"freeze": ["*embeddings*"]},
    "layer_decay: 0.75": {"layer_decay": 0.75},
    "layer_decay: 0.5": {"layer_decay": 0.5},
    "unfreeze: the layers at step 30": {"unfreeze": [{"step": 30, "parameters": ["*embeddings*", "*.layer.*"]}]},
    "l2_sp: 10": {"l2_sp": 10, "weight_decay": 0},
    "l2_sp: 100": {"l2_sp": 100, "weight_decay": 0},
}


def headstart(*arguments):
    with open(RUNS / "log", "w", encoding="utf-8") as log:
        if subprocess.run(["headstart", *map(str, arguments)], stdout=log, stderr=log, check=False).returncode:
            sys.exit(f"headstart: a run failed: see {RUNS}/log")


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
        headstart("train", "examples/digits/pretrain.yaml", "--workers", 2, "--set", f"output_dir={checkpoint}")
    return "examples/digits/finetune.yaml", {"base_model": str(checkpoint / "final"), "eval_on_start": False}


def train(task, rows, treatment, seed):
    """Accuracy on the evaluation rows after the last step."""
    run_file, settings = start(task)
    if rows is not None:
        settings["datasets"] = (few_texts if task == "sections" else few_images)(rows)
    output = RUNS / "run"
    shutil.rmtree(output, ignore_errors=True)
    settings |= {
        "output_dir": str(output), "max_steps": STEPS[task], "warmup_steps": STEPS[task] // 10, "eval_steps": STEPS[task],
        "save_strategy": "no", "seed": seed, "shards_per_step": 2, "per_device_train_batch_size": 16, "probe": False, **treatment,
    }
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    headstart("train", run_file, "--workers", 2, *sets)
    with open(output / "final/metrics.jsonl", encoding="utf-8") as lines:
        return [line["eval_accuracy"] for line in map(json.loads, lines) if "eval_accuracy" in line][-1]


def cell(values):
    return f"{100 * statistics.mean(values):.1f} % ({100 * min(values):.1f} to {100 * max(values):.1f})"


def report(found):
    columns = [(task, rows) for task in TASKS for rows in ROWS[task]]
    header = ["", *(f"{task}, {'all rows' if rows is None else f'{rows} rows a label'}" for task, rows in columns)]
    rows = [
        [f"`{name}`" if treatment else name, *(cell([found[f"{task} {rows} {name} {seed}"] for seed in SEEDS]) for task, rows in columns)]
        for name, treatment in TREATMENTS.items()
    ]
    results.replace("treatments", f"""## When it pays to choose what is transferred

{results.written_by("make bench-treatments")}

Accuracy after {STEPS["sections"]} steps of 32 rows: means over the seeds {", ".join(map(str, SEEDS))}, in brackets the range over them. sections: MiniLM,
learning rate 1e-4; digits: the digits 5 to 9 from a network that learned 0 to 4, learning rate 1e-3.

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
            print(f"{key}: {found[key]:.4f}", file=sys.stderr, flush=True)
    report(found)


if __name__ == "__main__":
    main()
