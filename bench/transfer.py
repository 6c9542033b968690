#!/usr/bin/env python3
"""Does the probe rank checkpoints as fine-tuning does? Two tasks, a text and an image one; checkpoints that were made by training on
the same, related, hardly related and unrelated ones; each is probed, and fine-tuned for 300 steps with three seeds.

A checkpoint is truly no head start when its mean gain over random weights is below the larger of the two ranges over seeds. What was
trained is kept in runs/bench-transfer, so a bench that was interrupted goes on; probes are made each time. The tables go to their
section of bench/RESULTS.md.

SEEDS="1,2,3" STEPS=300 ROWS=2000 TASKS="text,images". PATH decides the programs.
"""
import itertools
import json
import os
import pathlib
import random
import re
import shutil
import statistics
import sys

import results
from program import headstart

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUNS = pathlib.Path("runs/bench-transfer")
SEEDS = [int(number) for number in os.environ.get("SEEDS", "1,2,3").split(",")]
STEPS = int(os.environ.get("STEPS", 300))
ROWS = int(os.environ.get("ROWS", 2000))
TASKS = os.environ.get("TASKS", "text,images").split(",")
LANGUAGE_ROWS = 200
PRETRAINING_STEPS = 1500
RANDOM = "nothing: random weights"
RELATED = {"text": ["the same rows", "the other ten sections"], "images": ["the same digits", "the digits 0 to 4"]}

# Images: a digit of 8 × 8 pixels at a random place of a noisy field.
FIELD, PATCH, SIDE, NOISE = 12, 3, 8, 60
COPIES = 6


def prepared():
    """Turns pixels into a PNG file, and reads the digits: the program that makes the data of examples/digits."""
    sys.path.insert(0, str(ROOT / "examples/digits"))
    import prepare  # pylint: disable=import-outside-toplevel

    return prepare


def placed(pixels, rng):
    """A digit somewhere in noise."""
    left, top = rng.randrange(FIELD - SIDE + 1), rng.randrange(FIELD - SIDE + 1)
    field = [rng.randrange(NOISE) for _ in range(FIELD * FIELD)]
    for row, column in itertools.product(range(SIDE), range(SIDE)):
        place = (top + row) * FIELD + left + column
        field[place] = min(255, field[place] + pixels[row * SIDE + column] * 12)
    return field


def write_images(folder):
    """One folder of training rows for each task, and of evaluation rows for the one that is fine-tuned."""
    prepare = prepared()
    tasks = {name: [] for name in ("same", "related", "transposed", "labels", "pixels", "brightness")}
    evaluation = []
    rng = random.Random(1)
    shuffle = list(range(FIELD * FIELD))
    rng.shuffle(shuffle)
    for part, (_, pixels, digit) in prepare.split(prepare.read(ROOT / "examples/digits/digits.csv.gz")):
        for _ in range(COPIES if part == "train" else 2):
            field = placed(pixels, rng)
            if digit >= 5:
                (tasks["same"] if part == "train" else evaluation).append((field, digit - 5))
            elif part == "train":
                turned = [field[column * FIELD + row] for row, column in itertools.product(range(FIELD), range(FIELD))]
                level = rng.randrange(5)
                tasks["related"].append((field, digit))
                tasks["transposed"].append((turned, digit))
                tasks["labels"].append((field, rng.randrange(5)))
                tasks["pixels"].append(([field[place] for place in shuffle], digit))
                tasks["brightness"].append(([rng.randrange(40) + 50 * level for _ in field], level))
    for name, rows in [*((f"{name}/train", rows) for name, rows in tasks.items()), ("same/eval", evaluation)]:
        for number, (field, label) in enumerate(rows):
            path = folder / name / str(label) / f"{number:05}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(prepare.grayscale(bytes(field), FIELD))


def images(folder):
    """The run file of the image task, and its checkpoints: what each was trained on, and where those rows are."""
    if not (folder / "data").exists():
        write_images(folder / "data.partial")
        (folder / "data.partial").rename(folder / "data")
    model = folder / "model"
    model.mkdir(exist_ok=True)
    config = json.loads((ROOT / "examples/digits/model/config.json").read_text(encoding="utf-8"))
    (model / "config.json").write_text(json.dumps({**config, "image_size": FIELD, "patch_size": PATCH}), encoding="utf-8")
    processor = json.loads((ROOT / "examples/digits/model/preprocessor_config.json").read_text(encoding="utf-8"))
    size = {"height": FIELD, "width": FIELD}
    (model / "preprocessor_config.json").write_text(json.dumps({**processor, "size": size}), encoding="utf-8")
    rows = folder / "data"
    trained_on = {
        "the same digits": "same", "the digits 0 to 4": "related", "0 to 4, transposed": "transposed",
        "0 to 4, labels shuffled": "labels", "0 to 4, pixels shuffled": "pixels", "brightness of noise": "brightness",
    }
    datasets = {name: [{"path": str(rows / place / "train")}] for name, place in trained_on.items()}
    return {
        "task": "image-classification", "datasets": datasets["the same digits"],
        "eval_datasets": [{"path": str(rows / "same/eval")}], "learning_rate": 1e-3,
    }, model, datasets


def write_text(folder):
    """The same for the sections: ten of them are fine-tuned, ten are the related task."""
    folder.mkdir(parents=True)
    parts = {}
    for part in ("train", "eval"):
        with open(ROOT / f"examples/sections/data/{part}.jsonl", encoding="utf-8") as lines:
            parts[part] = [json.loads(line) for line in lines]
    sections = sorted({row["label"] for row in parts["train"]})
    own = set(sections[::2])
    rng = random.Random(1)
    letters = list("abcdefghijklmnopqrstuvwxyz")
    cipher = str.maketrans("".join(letters), "".join(rng.sample(letters, len(letters))))
    other = [row for row in parts["train"] if row["label"] not in own]
    words = sorted({word for row in other for word in row["text"].lower().split()})
    labels = [row["label"] for row in other]
    rng.shuffle(labels)
    lengths = sorted(len(row["text"]) for row in other)
    tenth = [lengths[len(lengths) * part // 10] for part in range(1, 10)]

    def salad(_):
        """Words drawn at random; the label says how many."""
        count = rng.randrange(2, 12)
        return {"text": " ".join(rng.choice(words) for _ in range(count)), "label": f"{count:02}"}

    def size(row):
        return {**row, "label": str(sum(len(row["text"]) >= bound for bound in tenth))}

    files = {
        "same/train": [row for row in parts["train"] if row["label"] in own],
        "same/eval": [row for row in parts["eval"] if row["label"] in own],
        "related/train": other,
        "cipher/train": [{**row, "text": row["text"].lower().translate(cipher)} for row in other],
        "lengths/train": [size(row) for row in other],
        "labels/train": [{**row, "label": label} for row, label in zip(other, labels)],
        "salad/train": [salad(row) for row in other],
    }
    for name, rows in files.items():
        path = folder / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def text(folder):
    """The run file of the text task, and its checkpoints."""
    if not (folder / "data").exists():
        write_text(folder / "data.partial")
        (folder / "data.partial").rename(folder / "data")
    source, model = ROOT / "examples/sections/model", folder / "model"
    if not model.exists():
        shutil.copytree(source, model, ignore=shutil.ignore_patterns("*.safetensors", "*.bin"))
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    small = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 512}
    (model / "config.json").write_text(json.dumps({**config, **small}), encoding="utf-8")
    trained_on = {
        "the same rows": "same", "the other ten sections": "related", "other sections, letters exchanged": "cipher",
        "lengths of descriptions": "lengths", "other sections, labels shuffled": "labels", "number of random words": "salad",
    }
    columns = {"text_column": "text", "label_column": "label"}
    datasets = {name: [{"path": str(folder / "data" / place / "train.jsonl"), **columns}] for name, place in trained_on.items()}
    return {
        "task": "sequence-classification", "datasets": datasets["the same rows"],
        "eval_datasets": [{"path": str(folder / "data/same/eval.jsonl"), **columns}], "sequence_len": 64, "learning_rate": 5e-4,
    }, model, datasets


def probe(folder, settings, checkpoints, rows):
    """What the probe says of each checkpoint on the rows of a run, by their places."""
    run_file = folder / "probe.json"
    output = {"output_dir": str(folder / "probed"), "max_steps": STEPS, "init": "pretrained", "seed": SEEDS[0]}
    run_file.write_text(json.dumps({**COMMON, **settings, **output, "base_model": str(checkpoints[0])}), encoding="utf-8")
    named = [part for place in checkpoints for part in ("--checkpoint", place)]
    found = json.loads(headstart(folder, "probe", run_file, "--rows", rows, "--workers", 2, "--json", *named))
    return {one["checkpoint"].removeprefix("file://"): one for one in found}


def sections(folder):
    """MiniLM beside networks that know nothing of texts, on all twenty sections."""
    settings, _, _ = text(RUNS.absolute() / "text")
    columns = {"text_column": "text", "label_column": "label"}
    rows = [{"path": str(ROOT / "examples/sections/data/train.jsonl"), **columns}]
    settings |= {"datasets": rows, "eval_datasets": rows, "sequence_len": 128}
    places = {
        "MiniLM": ROOT / "examples/sections/model",
        "a small BERT: other sections, labels shuffled": RUNS.absolute() / "text/checkpoint-4/final",
        "a small BERT: number of random words": RUNS.absolute() / "text/checkpoint-5/final",
    }
    found = probe(folder, settings, list(places.values()), ROWS)
    rows = [
        [name, f"{one['score']:.3f}", f"{one['random']['score']:.3f}", one["verdict"], f"{one['seconds']:.0f}"]
        for name, one in ((name, found[str(place)]) for name, place in places.items())
    ]
    return results.table(["network", "score", "zero line", "verdict", "seconds"], rows)


def paragraphs():
    """Paragraphs of docs/ without code, tables, lists and links."""
    texts = []
    for page in sorted(pathlib.Path("docs").glob("*.md")):
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        words = (" ".join(part.split()) for part in text.split("\n\n"))
        plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", part).replace("`", "") for part in words)
        texts += [part for part in plain if part[:1].isalpha() and len(part) >= 80 and part.isascii()]
    return texts


def language(folder):
    """SmolLM2 on paragraphs in English, on the same with their bytes shuffled, and on lines of a few words."""
    with open(ROOT / "examples/sections/data/eval.jsonl", encoding="utf-8") as lines:
        lines = [json.loads(line)["text"] for line in lines]
    rng = random.Random(1)
    texts = paragraphs()
    shuffled = ["".join(rng.sample(text, len(text))) for text in texts]
    rows, model = [], ROOT / "examples/assistant/model"
    for name, some in (("paragraphs of this documentation", texts), ("their bytes shuffled", shuffled), ("descriptions of one line", lines)):
        path = folder / f"{name.replace(' ', '-')}.jsonl"
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in some), encoding="utf-8")
        settings = {"task": "causal-lm", "datasets": [{"path": str(path), "type": "completion"}], "sequence_len": 128}
        one = probe(folder, settings, [model], LANGUAGE_ROWS)[str(model)]
        bits = [one["bits_per_byte"], one["random"]["bits_per_byte"], one["unigram"]]
        rows.append([name, *(f"{value:.2f}" for value in bits), one["verdict"], f"{one['seconds']:.0f}"])
    return results.table(["rows", "bits per byte", "random weights", "unigram", "verdict", "seconds"], rows)


COMMON = {
    "per_device_train_batch_size": 16, "per_device_eval_batch_size": 64, "global_batch_size": 32, "shards_per_step": 2,
    "warmup_steps": 30, "lr_scheduler_type": "linear", "weight_decay": 0.01, "max_grad_norm": 1.0, "save_strategy": "no",
    "threads_per_worker": 1, "probe": False,
}


def train(folder, settings, output):
    """Trains unless it was trained before, and gives back the last accuracy, if there is one."""
    if not (output / "final/SHA256SUMS").exists():
        shutil.rmtree(output, ignore_errors=True)
        run_file = folder / "run.json"
        run_file.write_text(json.dumps({**COMMON, **settings, "output_dir": str(output)}), encoding="utf-8")
        headstart(folder, "train", run_file, "--workers", 2)
    with open(output / "final/metrics.jsonl", encoding="utf-8") as lines:
        accuracies = [line["eval_accuracy"] for line in map(json.loads, lines) if "eval_accuracy" in line]
    return accuracies[-1] if accuracies else None


def measure(task):
    """What each checkpoint was trained on, its accuracies after fine-tuning, and what the probe says of it."""
    folder = (RUNS / task).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    settings, model, datasets = {"text": text, "images": images}[task](folder)
    blank = {"base_model": str(model), "init": "random"}
    places = {}
    for number, (name, rows) in enumerate(datasets.items()):
        places[name] = folder / f"checkpoint-{number}"
        steps = {"max_steps": PRETRAINING_STEPS, "eval_strategy": "no"}
        train(folder, {**settings, **blank, **steps, "datasets": rows, "eval_datasets": None, "seed": 42}, places[name])
        print(f"{task}: trained on {name}", file=sys.stderr, flush=True)
    starts = {RANDOM: blank, **{name: {"base_model": str(place / "final"), "init": "pretrained"} for name, place in places.items()}}
    accuracies = {}
    for number, (name, start) in enumerate(starts.items()):
        steps = {"max_steps": STEPS, "eval_strategy": "steps", "eval_steps": STEPS}
        accuracies[name] = [
            train(folder, {**settings, **start, **steps, "seed": seed}, folder / f"tuned-{number}-{seed}") for seed in SEEDS
        ]
        print(f"{task}: from {name}: {accuracies[name]}", file=sys.stderr, flush=True)
    found = probe(folder, settings, [place / "final" for place in places.values()], ROWS)
    return {name: (accuracies[name], found[str(place / "final")]) for name, place in places.items()}, accuracies[RANDOM]


def tau(pairs):
    """Kendall's τ-b of pairs of numbers."""
    sign = lambda a, b: (a > b) - (a < b)  # noqa: E731
    signs = [(sign(one[0], two[0]), sign(one[1], two[1])) for one, two in itertools.combinations(pairs, 2)]
    untied = [sum(one[part] != 0 for one in signs) for part in (0, 1)]
    return sum(one[0] * one[1] for one in signs) / (untied[0] * untied[1]) ** 0.5


def spread(values):
    return max(values) - min(values)


def report(measured, of_sections, of_language):
    texts, taus, right = [], [], []
    for task, (checkpoints, blank) in measured.items():
        taus.append(tau([(probe["score"], statistics.mean(accuracies)) for accuracies, probe in checkpoints.values()]))
        rows = []
        for name, (accuracies, probe) in sorted(checkpoints.items(), key=lambda one: -one[1][1]["score"]):
            gain = statistics.mean(accuracies) - statistics.mean(blank)
            none = gain < max(spread(accuracies), spread(blank))
            agrees = none == (probe["verdict"] == "none")
            right.append(agrees)
            if name in RELATED[task] and probe["verdict"] == "none":
                print(f"headstart: {name} is called no head start", file=sys.stderr)
            rows.append([
                name, f"{probe['score']:.3f}", f"{probe['random']['score']:.3f}", probe["verdict"],
                f"{100 * statistics.mean(accuracies):.1f} %", f"{100 * spread(accuracies):.1f}", f"{100 * gain:+.1f}",
                "none" if none else "a gain", "" if agrees else "wrong",
            ])
        rows.append([RANDOM, "", "", "", f"{100 * statistics.mean(blank):.1f} %", f"{100 * spread(blank):.1f}", "", "", ""])
        header = ["trained on", "score", "zero line", "verdict", "accuracy", "range", "gain", "truly", ""]
        texts.append(f"{task}: Kendall's τ-b {taus[-1]:.2f}\n\n{results.table(header, rows)}")
    results.replace("transfer", f"""## Does the probe rank checkpoints as fine-tuning does?

{results.written_by("make bench-transfer")}

Checkpoints of {PRETRAINING_STEPS} steps each, probed on {ROWS} rows, then fine-tuned for {STEPS} steps with the seeds {", ".join(map(str, SEEDS))}: mean
accuracy, its range over the seeds in points, and the gain over random weights. A gain below the larger of the two ranges is truly none.
Kendall's τ-b between score and accuracy is {statistics.mean(taus):.2f} in the mean; {sum(right)} of {len(right)} verdicts are right.

{(chr(10) * 2).join(texts)}

Networks that others have trained. MiniLM on the twenty sections of `examples/sections`, {ROWS} rows:

{of_sections}

SmolLM2, at most {LANGUAGE_ROWS} rows; its zero line is the better one of random weights and the unigram model:

{of_language}
""")


def main():
    os.chdir(ROOT)
    RUNS.mkdir(parents=True, exist_ok=True)
    measured = {task: measure(task) for task in TASKS}
    parts = [RUNS.absolute() / name for name in ("sections", "language")]
    for part in parts:
        part.mkdir(exist_ok=True)
    report(measured, sections(parts[0]), language(parts[1]))


if __name__ == "__main__":
    main()
