#!/usr/bin/env python3
"""Open a run's final/ with transformers, evaluate it there, and compare with what Headstart measured.

Nothing may be missing, unexpected or of another shape; the accuracy must be the one in metrics.jsonl; and, where what
`headstart predict` printed is given, each logit and label must agree.
"""
import argparse
import json
import pathlib
import sys

import torch
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

BATCH = 64


def json_lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("final", type=pathlib.Path, help="the run's final/")
    parser.add_argument("data", type=pathlib.Path, help="evaluation data: a JSONL file, or a directory of class folders")
    parser.add_argument("--text-column", default="text")
    parser.add_argument("--label-column", default="label")
    parser.add_argument("--sequence-len", type=int, default=128)
    parser.add_argument("--predictions", type=pathlib.Path, help="what headstart predict printed of the data")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="largest difference of a logit")
    return parser.parse_args()


def load(auto_class, final):
    model, info = auto_class.from_pretrained(final, dtype=torch.float32, output_loading_info=True)
    wrong = {kind: sorted(map(str, info[kind])) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    if any(wrong.values()):
        sys.exit(f"check_final: {final} does not load cleanly: {wrong}")
    return model.eval()


class Texts:
    """Rows of a JSONL file; row numbers count non-empty lines."""

    def __init__(self, options):
        rows = json_lines(options.data)
        self.inputs = [row[options.text_column] for row in rows]
        self.labels = [str(row[options.label_column]) for row in rows]
        self.model = load(AutoModelForSequenceClassification, options.final)
        self.tokenizer = AutoTokenizer.from_pretrained(options.final)
        self.sequence_len = options.sequence_len

    def batch(self, texts):
        cut = {"truncation": True, "max_length": self.sequence_len}
        return self.tokenizer(texts, padding="longest", return_tensors="pt", **cut)


class Images:
    """Files of a directory with one folder per class; row numbers follow the sorted relative paths."""

    def __init__(self, options):
        self.inputs = sorted(path for path in options.data.glob("*/*") if path.is_file())
        self.labels = [path.parent.name for path in self.inputs]
        self.model = load(AutoModelForImageClassification, options.final)
        self.processor = AutoImageProcessor.from_pretrained(options.final)

    def batch(self, paths):
        mode = "L" if self.model.config.num_channels == 1 else "RGB"
        return self.processor([Image.open(path).convert(mode) for path in paths], return_tensors="pt")


@torch.no_grad()
def logits_of(rows):
    """[rows, labels] f32"""
    parts = [rows.inputs[start : start + BATCH] for start in range(0, len(rows.inputs), BATCH)]
    return torch.cat([rows.model(**rows.batch(part)).logits for part in parts])


def check_accuracy(rows, logits, metrics):
    label2id = rows.model.config.label2id
    truth = torch.tensor([label2id[label] for label in rows.labels])
    correct = (logits.argmax(-1) == truth).sum().item()
    reported = [line["eval_accuracy"] for line in json_lines(metrics) if "eval_accuracy" in line]
    if not reported:
        sys.exit(f"check_final: {metrics} has no eval_accuracy")
    # One row may lie so close to a tie that rounding decides it.
    if not abs(reported[-1] * len(truth) - correct) < 1.5:
        sys.exit(f"check_final: accuracy {correct / len(truth):.6f} here, {reported[-1]:.6f} in {metrics}")
    print(f"accuracy over {len(truth)} rows: {correct / len(truth):.6f} here, {reported[-1]:.6f} reported")


def check_predictions(rows, logits, path, tolerance):
    given = json_lines(path)
    theirs = torch.tensor([row["logits"] for row in given])
    if logits.shape != theirs.shape:
        sys.exit(f"check_final: {path} has logits of shape {list(theirs.shape)}, expected {list(logits.shape)}")
    largest = (logits - theirs).abs().max().item()
    if not largest <= tolerance:
        sys.exit(f"check_final: logits differ by {largest:.1e}, more than {tolerance:g}")
    id2label = rows.model.config.id2label
    if [row["label"] for row in given] != [id2label[best] for best in theirs.argmax(-1).tolist()]:
        sys.exit(f"check_final: {path} has a label that does not have the largest logit")
    print(f"logits of {len(given)} rows agree within {largest:.1e}")


def main():
    options = arguments()
    rows = Images(options) if options.data.is_dir() else Texts(options)
    if not rows.inputs:
        sys.exit(f"check_final: {options.data} has no rows")
    logits = logits_of(rows)
    check_accuracy(rows, logits, options.final / "metrics.jsonl")
    if options.predictions:
        check_predictions(rows, logits, options.predictions, options.tolerance)


if __name__ == "__main__":
    main()
