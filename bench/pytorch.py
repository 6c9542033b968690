#!/usr/bin/env python3
"""PyTorch's side of the benchmark: the same rows, padded to the longest of a batch, in an eager loop with fused AdamW.

Alone or under torchrun (DistributedDataParallel over gloo), where --hook says what a gradient is on the wire. Prints the samples a
second of each step, as JSON, after the first WARM_UP steps. With --metrics, rank 0 also writes a JSON line for each step: its
number from 1, the loss over all ranks, the Unix time of its end and its seconds.
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


def compress(parallel, hook, start):
    """Gives DDP a communication hook of PyTorch's: bf16, or PowerSGD of rank 8 with error feedback from step `start` on."""
    from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook

    if hook == "bf16":
        parallel.register_comm_hook(None, default_hooks.bf16_compress_hook)
    elif hook == "powersgd":
        settings = {"matrix_approximation_rank": 8, "start_powerSGD_iter": start, "use_error_feedback": True}
        state = powerSGD_hook.PowerSGDState(process_group=None, **settings)
        parallel.register_comm_hook(state, one_at_a_time(powerSGD_hook.powerSGD_hook))


def one_at_a_time(hook):
    """The hook, which waits until a bucket is reduced. Without, gloo's threads begin the reductions of two buckets in an order that
    differs between the ranks, and a rank receives another's bucket."""
    def wait(state, bucket):
        reduced = hook(state, bucket)
        reduced.wait()
        return reduced
    return wait


def write_metrics(path, steps, world):
    """Writes [(loss of this rank's rows, Unix time, seconds)]; the ranks have equally many rows."""
    losses = torch.tensor([loss for loss, _, _ in steps])
    if world > 1:
        dist.all_reduce(losses)
    if int(os.environ.get("RANK", 0)) > 0:
        return
    with open(path, "w", encoding="utf-8") as file:
        for number, (loss, (_, ended, seconds)) in enumerate(zip(losses.tolist(), steps), 1):
            line = {"step": number, "loss": loss / world, "time": ended, "step_time": seconds}
            file.write(json.dumps(line) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True, help="HF directory of weights version 0")
    parser.add_argument("--data", required=True, help="JSONL with text and label")
    parser.add_argument("--rows", required=True, help='JSONL: {"step": 0, "rows": [row numbers]}')
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--hook", choices=["none", "bf16", "powersgd"], default="none")
    parser.add_argument("--powersgd-start", type=int, default=10, help="step from which PowerSGD compresses, at least 2")
    parser.add_argument("--warmup-steps", type=int, default=4)
    parser.add_argument("--metrics", help="file for a JSON line for each step")
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
    schedule = get_linear_schedule_with_warmup(optimizer, options.warmup_steps, len(steps))
    parallel = model
    if world > 1:
        dist.init_process_group("gloo")
        # One large bucket, gradient_as_bucket_view and static_graph were tried at 1 Gbit/s: their gain is below what runs differ by.
        parallel = torch.nn.parallel.DistributedDataParallel(model)
        compress(parallel, options.hook, options.powersgd_start)

    speeds, metrics = [], []
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
        loss = loss.item()
        seconds = time.perf_counter() - began
        speeds.append(len(step["rows"]) / seconds)
        metrics.append((loss, time.time(), seconds))
    if options.metrics:
        write_metrics(options.metrics, metrics, world)
    if rank == 0:
        print(json.dumps(speeds[WARM_UP:]))
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
