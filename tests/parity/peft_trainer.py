#!/usr/bin/env python3
"""A LoRA run by transformers and PEFT: the same rows in the same order as a Headstart run, from the same first adapter.

From Headstart come only A and B of version 0 (`headstart init`) and which rows each step took (`headstart rows`). Texts, tokens,
masks, the network, clipping, AdamW and the schedule are transformers', PEFT's and torch's own. As a program it prints a JSON line
per step, {"step", "loss", "tokens", "trained", "seconds"}, and at the end {"peak_bytes"}.

Its settings are the fastest found for this network on CPUs: float32, SDPA, the rows of a step sorted by length before they are cut
into micro-batches (sums don't depend on it), each padded to its longest row, a fused AdamW, tokens made beforehand.
"""
import argparse
import json
import pathlib
import time

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, get_cosine_schedule_with_warmup

IGNORED = -100
ANSWER = "<|im_start|>assistant\n"
END = "<|im_end|>"


def json_lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def encode(tokenizer, messages):
    """(ids, labels) of a conversation in ChatML: the labels of answers and their end tokens are their ids."""
    ids = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    begin, end = tokenizer(ANSWER, add_special_tokens=False).input_ids, tokenizer.convert_tokens_to_ids(END)
    labels, at = [IGNORED] * len(ids), 0
    while at < len(ids):
        if ids[at : at + len(begin)] != begin:
            at += 1
            continue
        at += len(begin)
        stop = ids.index(end, at) + 1
        labels[at:stop] = ids[at:stop]
        at = stop
    return ids, labels


def padded(rows, pad):
    """Network inputs of (ids, labels) rows, each [rows, longest]."""
    longest = max(len(ids) for ids, _ in rows)

    def grid(values, fill):
        return torch.tensor([row + [fill] * (longest - len(row)) for row in values])

    return {
        "input_ids": grid([ids for ids, _ in rows], pad),
        "attention_mask": grid([[1] * len(ids) for ids, _ in rows], 0),
        "labels": grid([labels for _, labels in rows], IGNORED),
    }


def load(base, start, rank, alpha):
    """The tokenizer, and the base with an adapter of all linear layers whose A and B are those in the directory `start`."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="sdpa")
    config = LoraConfig(task_type="CAUSAL_LM", r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules="all-linear")
    model = get_peft_model(model, config)
    if start is not None:
        first = {}
        for file in sorted(pathlib.Path(start).glob("*.safetensors")):
            first |= {name.removeprefix("base_model.model."): tensor for name, tensor in load_file(file).items()}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                key = name.removeprefix("base_model.model.").replace(".default", "")
                with torch.no_grad():
                    parameter.copy_(first[key])
    return tokenizer, model


def parameter_groups(model, weight_decay):
    return [{"params": [p for p in model.parameters() if p.requires_grad], "weight_decay": weight_decay}]


def train(model, data, pad, steps, options):
    """Yields a dict per step. `data` holds (ids, labels) by row number; the loss is the mean over the step's trained tokens."""
    model.train()
    optimizer = torch.optim.AdamW(parameter_groups(model, options.weight_decay), lr=options.learning_rate, fused=True)
    total = options.total_steps or len(steps)
    schedule = get_cosine_schedule_with_warmup(optimizer, options.warmup_steps, total)
    for step in steps:
        began = time.perf_counter()
        rows = sorted((data[number] for number in step["rows"]), key=lambda row: len(row[0]))
        # The first token of a row has nothing before it that could predict it.
        trained = sum(label != IGNORED for _, labels in rows for label in labels[1:])
        loss = 0.0
        for start in range(0, len(rows), options.micro_batch):
            batch = padded(rows[start : start + options.micro_batch], pad)
            batch = {name: values.to(options.device) for name, values in batch.items()}
            part = model(**batch, num_items_in_batch=trained, use_cache=False).loss
            part.backward()
            loss += part.item()
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], options.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        seconds = time.perf_counter() - began
        tokens = sum(len(ids) for ids, _ in rows)
        yield {"step": step["step"], "loss": loss, "tokens": tokens, "trained": trained, "seconds": seconds}


def peak_bytes():
    status = pathlib.Path("/proc/self/status").read_text(encoding="utf-8")
    return next(1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


def arguments(given=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", required=True, help="HF directory of the network")
    parser.add_argument("--start", help="directory whose safetensors hold A and B of version 0; default: PEFT's own")
    parser.add_argument("--data", required=True, help="JSONL with messages")
    parser.add_argument("--rows", required=True, help='JSONL: {"step": 0, "rows": [row numbers]}')
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--alpha", type=float, default=32)
    parser.add_argument("--micro-batch", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--warmup-steps", type=int, default=0)
    parser.add_argument("--total-steps", type=int, help="length of the schedule; default: the steps of --rows")
    parser.add_argument("--weight-decay", type=float, default=0.0)
    parser.add_argument("--max-grad-norm", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args(given)


def main():
    options = arguments()
    torch.set_num_threads(options.threads)
    torch.manual_seed(42)
    tokenizer, model = load(options.base, options.start, options.rank, options.alpha)
    model.to(options.device)
    steps = sorted(json_lines(options.rows), key=lambda step: step["step"])
    rows = json_lines(options.data)
    needed = {number for step in steps for number in step["rows"]}
    data = {number: encode(tokenizer, rows[number]["messages"]) for number in needed}
    for line in train(model, data, tokenizer.pad_token_id, steps, options):
        print(json.dumps(line), flush=True)
    print(json.dumps({"peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()
