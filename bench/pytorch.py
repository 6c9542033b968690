#!/usr/bin/env python3
"""PyTorch's side of the benchmark: the same rows, padded to the longest of a batch, in an eager loop with fused AdamW.

Alone or under torchrun (DistributedDataParallel over gloo). Prints the samples a second of each step, as JSON, after the
first WARM_UP steps.
"""
import argparse
import json
import os
import time

import torch
import torch.distributed as dist
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup

WARM_UP = 5


def json_lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True, help="HF directory of weights version 0")
    parser.add_argument("--data", required=True, help="JSONL with text and label")
    parser.add_argument("--rows", required=True, help='JSONL: {"step": 0, "rows": [row numbers]}')
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()

    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    torch.set_num_threads(options.threads)
    torch.manual_seed(42 + rank)
    data = json_lines(options.data)
    steps = json_lines(options.rows)
    tokenizer = AutoTokenizer.from_pretrained(options.weights)
    model = AutoModelForSequenceClassification.from_pretrained(options.weights, attn_implementation="sdpa").to(options.device)
    model.train()
    label2id = model.config.label2id
    exempt = [p for name, p in model.named_parameters() if name.endswith("bias") or "LayerNorm" in name]
    ids = {id(p) for p in exempt}
    decayed = [p for p in model.parameters() if id(p) not in ids]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": exempt, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, fused=True)
    schedule = get_linear_schedule_with_warmup(optimizer, 4, len(steps))
    parallel = model
    if world > 1:
        dist.init_process_group("gloo")
        parallel = torch.nn.parallel.DistributedDataParallel(model)

    speeds = []
    for step in steps:
        began = time.perf_counter()
        part = len(step["rows"]) // world
        rows = [data[number] for number in step["rows"][rank * part : (rank + 1) * part]]
        texts = [row["text"] for row in rows]
        batch = tokenizer(texts, padding="longest", truncation=True, max_length=128, return_tensors="pt").to(options.device)
        labels = torch.tensor([label2id[row["label"]] for row in rows], device=options.device)
        loss = parallel(**batch, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        loss.item()
        speeds.append(len(step["rows"]) / (time.perf_counter() - began))
    if rank == 0:
        print(json.dumps(speeds[WARM_UP:]))
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
