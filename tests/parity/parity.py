#!/usr/bin/env python3
"""Train in PyTorch what a Headstart run trained, and compare the losses step by step.

From Headstart come only the weights it began with and which rows each step took. Tokenising, padding, the forward and
backward passes, clipping, AdamW and the schedule are transformers' and torch's own.
"""
import argparse
import json
import sys
from fnmatch import fnmatchcase

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup


def json_lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--start", required=True, help="HF directory of weights version 0, head included")
    parser.add_argument("--data", required=True, help="JSONL training file with text and label")
    parser.add_argument("--rows", required=True, help='JSONL: {"step": 0, "rows": [row numbers]}')
    parser.add_argument("--metrics", required=True, help="the run's metrics.jsonl")
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--warmup-steps", type=int, default=4)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--max-grad-norm", type=float, default=1.0)
    parser.add_argument("--layer-decay", type=float, default=1.0)
    parser.add_argument("--l2-sp", type=float, default=0.0)
    parser.add_argument(
        "--unfreeze", action="append", default=[], metavar="STEP=PATTERN", help="first step, from 1, of what a pattern names"
    )
    parser.add_argument("--sequence-len", type=int, default=128)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    return parser.parse_args()


def depth(name, layers):
    """BEiT's, from the head: embeddings layers + 1, layer i layers - i, all others 0."""
    if ".embeddings." in name:
        return layers + 1
    parts = name.split(".")
    return layers - int(parts[parts.index("layer") + 1]) if "layer" in parts else 0


def first_step(name, unfreeze):
    """The first step that trains a parameter, from 1."""
    entries = (entry.split("=", 1) for entry in unfreeze)
    return min((int(step) for step, pattern in entries if fnmatchcase(name, pattern)), default=1)


def parameter_groups(model, options):
    """A group for each parameter: learning rates by depth, and weight decay on everything but biases and norms."""
    norms = {id(p) for module in model.modules() if isinstance(module, torch.nn.LayerNorm) for p in module.parameters()}
    layers = model.config.num_hidden_layers
    return [
        {
            "params": [p],
            "lr": options.learning_rate * options.layer_decay ** depth(name, layers),
            "weight_decay": 0.0 if id(p) in norms or name.endswith("bias") else options.weight_decay,
        }
        for name, p in model.named_parameters()
    ]


def losses(options, data, steps):
    """The mean loss of each step's batch, before its update."""
    tokenizer = AutoTokenizer.from_pretrained(options.start)
    model = AutoModelForSequenceClassification.from_pretrained(options.start, dtype=torch.float32)
    # Headstart's run has no dropout; evaluation mode turns it off whatever config.json says.
    model.eval()
    optimizer = torch.optim.AdamW(parameter_groups(model, options))
    schedule = get_linear_schedule_with_warmup(optimizer, options.warmup_steps, len(steps))
    began = {name: p.detach().clone() for name, p in model.named_parameters()}
    for number, step in enumerate(steps, 1):
        rows = [data[number] for number in step["rows"]]
        batch = tokenizer(
            [row["text"] for row in rows],
            padding="longest",
            truncation=True,
            max_length=options.sequence_len,
            return_tensors="pt",
        )
        labels = torch.tensor([model.config.label2id[row["label"]] for row in rows])
        loss = model(**batch, labels=labels).loss
        loss.backward()
        # Without a gradient, torch leaves a parameter, its state and its share of the norm out.
        for name, p in model.named_parameters():
            if number < first_step(name, options.unfreeze):
                p.grad = None
        torch.nn.utils.clip_grad_norm_(model.parameters(), options.max_grad_norm)
        with torch.no_grad():
            for (name, p), group in zip(model.named_parameters(), optimizer.param_groups):
                if p.grad is not None and not name.startswith(("classifier.", "bert.pooler.")):
                    p.sub_(group["lr"] * options.l2_sp * (p - began[name]))
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        yield loss.item()


def main():
    options = arguments()
    data = json_lines(options.data)
    steps = sorted(json_lines(options.rows), key=lambda step: step["step"])
    logged = sorted((line for line in json_lines(options.metrics) if "loss" in line), key=lambda line: line["step"])
    if not steps or len(logged) != len(steps):
        sys.exit(f"parity: {options.rows} has {len(steps)} steps, {options.metrics} has {len(logged)} training losses")

    largest = 0.0
    print("step   Headstart     PyTorch       difference")
    for line, expected in zip(logged, losses(options, data, steps)):
        difference = abs(line["loss"] - expected)
        largest = max(largest, difference)
        print(f"{line['step']:>4}   {line['loss']:.8f}    {expected:.8f}    {difference:.1e}")
    # Written so that a loss that is not a number fails too.
    if not largest <= options.tolerance or any(line["loss"] != line["loss"] for line in logged):
        sys.exit(f"parity: losses differ by {largest:.1e}, more than {options.tolerance:g}")
    print(f"parity: {len(steps)} losses agree within {largest:.1e}")


if __name__ == "__main__":
    main()
