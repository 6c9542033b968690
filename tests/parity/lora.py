#!/usr/bin/env python3
"""Fifty steps of an adapter against transformers and PEFT, on SmolLM2 and on a small Qwen3 from random weights.

    python lora.py DIRECTORY     headstart must be on PATH; examples/assistant/setup.py must have run

Rows must become the same tokens and masks. Two workers train; PEFT trains the same rows in the same order from the same A and B.
Losses must agree. Then PEFT opens final/: its loss over the evaluation rows must be the one that Headstart measured. Where final/
has golden.jsonl, so must each token's log-probability. A run of one step without warm-up must leave no B at zero.
"""
import json
import math
import pathlib
import shutil
import subprocess
import sys

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

import peft_trainer
from peft_trainer import IGNORED, json_lines

SMOLLM2 = pathlib.Path("examples/assistant/model")
DATA = pathlib.Path("examples/assistant/data")
STEPS, ROWS_PER_STEP, MICRO_BATCH = 50, 4, 2
LONGEST, SEQUENCE_LEN, EVAL_ROWS = 80, 128, 16
RANK, ALPHA = 16, 32
WARMUP_STEPS, WEIGHT_DECAY, MAX_GRAD_NORM = 4, 0.01, 1.0
# Random weights need a larger one to learn anything in fifty steps.
LEARNING_RATES = {"smollm2": 2e-4, "qwen3": 2e-3}
LOSS_TOLERANCE = 1e-3
# From the first ten steps to the last ten: the losses of a run that learns nothing agree without meaning anything.
LEAST_FALL = 100 * LOSS_TOLERANCE
LOGIT_TOLERANCE = 1e-4
TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]


def small_qwen3(directory):
    """A network of 3 layers with grouped heads, a head size apart from hidden ÷ heads, and SmolLM2's tokenizer."""
    torch.manual_seed(7)
    tokenizer = AutoTokenizer.from_pretrained(SMOLLM2)
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=64, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=24,
        intermediate_size=128, max_position_embeddings=512, tie_word_embeddings=True, initializer_range=0.1, bos_token_id=1,
        eos_token_id=2, pad_token_id=2,
    )
    Qwen3ForCausalLM(config).save_pretrained(directory)
    for name in TOKENIZER_FILES:
        shutil.copy(SMOLLM2 / name, directory / name)


def write_data(directory):
    """Short conversations of the example, so that the fifty steps take minutes."""
    tokenizer = AutoTokenizer.from_pretrained(SMOLLM2)
    for part, most in (("train", STEPS * ROWS_PER_STEP), ("eval", EVAL_ROWS)):
        rows = json_lines(DATA / f"{part}.jsonl")
        short = [row for row in rows if len(peft_trainer.encode(tokenizer, row["messages"])[0]) <= LONGEST][:most]
        if len(short) < most:
            sys.exit(f"lora: {DATA}/{part}.jsonl has {len(short)} rows of at most {LONGEST} tokens, {most} are needed")
        (directory / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in short), encoding="utf-8")


def write_run_file(case, base, name, changes):
    settings = {
        "base_model": str(base),
        "task": "causal-lm",
        "adapter": "lora",
        "lora_r": RANK,
        "lora_alpha": ALPHA,
        "lora_target_modules": "all-linear",
        "datasets": [{"path": str(case.parent / "train.jsonl")}],
        "output_dir": str(case / name),
        "sequence_len": SEQUENCE_LEN,
        "per_device_train_batch_size": MICRO_BATCH,
        "per_device_eval_batch_size": MICRO_BATCH,
        "global_batch_size": ROWS_PER_STEP,
        "shards_per_step": ROWS_PER_STEP // MICRO_BATCH,
        "learning_rate": LEARNING_RATES[case.name],
        "lr_scheduler_type": "cosine",
        "weight_decay": WEIGHT_DECAY,
        "max_grad_norm": MAX_GRAD_NORM,
        "seed": 42,
        "save_strategy": "no",
        **changes,
    }
    path = case / f"{name}.yaml"
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return path


def headstart(*words, out=subprocess.DEVNULL):
    subprocess.run(["headstart", *map(str, words)], check=True, stdout=out)


def check_rows(name, case, base, run_file):
    """Headstart's tokens and trained tokens of the training rows are those that transformers and ChatML's marks give."""
    with open(case / "tokens.jsonl", "w", encoding="utf-8") as out:
        headstart("preprocess", run_file, "--rows", STEPS * ROWS_PER_STEP, "--json", out=out)
    tokenizer = AutoTokenizer.from_pretrained(base)
    rows, found = json_lines(case.parent / "train.jsonl"), json_lines(case / "tokens.jsonl")
    if len(found) != len(rows):
        sys.exit(f"lora: {name}: preprocess shows {len(found)} rows, expected {len(rows)}")
    for line in found:
        ids, labels = peft_trainer.encode(tokenizer, rows[line["row"]]["messages"])
        if line["input_ids"] != ids or line["trained"] != [label != IGNORED for label in labels]:
            sys.exit(f"lora: {name}: row {line['row']} of {case.parent}/train.jsonl: other tokens or another mask")
    print(f"{name}: tokens and masks of {len(rows)} rows are equal", flush=True)


def compare_losses(name, case, base, run_file):
    headstart("init", run_file, case / "start")
    with open(case / "rows.jsonl", "w", encoding="utf-8") as rows:
        headstart("rows", run_file, "--steps", STEPS, out=rows)
    headstart("train", run_file, "--workers", 2, "--device", "cpu")
    logged = [line for line in json_lines(case / "run/final/metrics.jsonl") if "loss" in line]
    steps = json_lines(case / "rows.jsonl")
    if len(logged) != STEPS or len(steps) != STEPS:
        sys.exit(f"lora: {name}: {len(logged)} losses and the rows of {len(steps)} steps, expected {STEPS}")

    options = peft_trainer.arguments(
        ["--base", str(base), "--data", "", "--rows", "", "--micro-batch", str(MICRO_BATCH), "--weight-decay", str(WEIGHT_DECAY)]
        + ["--learning-rate", str(LEARNING_RATES[name]), "--warmup-steps", str(WARMUP_STEPS), "--max-grad-norm", str(MAX_GRAD_NORM)]
    )
    tokenizer, model = peft_trainer.load(base, case / "start", RANK, ALPHA)
    rows = json_lines(case.parent / "train.jsonl")
    data = [peft_trainer.encode(tokenizer, row["messages"]) for row in rows]
    largest = 0.0
    for ours, theirs in zip(logged, peft_trainer.train(model, data, tokenizer.pad_token_id, steps, options)):
        difference = abs(ours["loss"] - theirs["loss"])
        # Written so that a loss that is not a number fails too.
        if not difference <= LOSS_TOLERANCE:
            sys.exit(f"lora: {name}: step {ours['step']}: loss {ours['loss']:.6f}, PEFT {theirs['loss']:.6f}")
        largest = max(largest, difference)
    fall = sum(line["loss"] for line in logged[:10]) / 10 - sum(line["loss"] for line in logged[-10:]) / 10
    if not fall >= LEAST_FALL:
        sys.exit(f"lora: {name}: losses fall by {fall:.3f} only, expected {LEAST_FALL:g}")
    print(f"{name}: {STEPS} losses agree within {largest:.1e}, and fall by {fall:.2f}", flush=True)


@torch.no_grad()
def log_probabilities(model, ids):
    """log p(ids[i + 1] | ids[..= i]), [tokens − 1] f32"""
    logits = model(torch.tensor([ids])).logits[0, :-1]
    return logits.log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]


def opened(base, final):
    """The network with the adapter in `final`, by PEFT alone. Tensors that it doesn't find or doesn't know are an error."""
    network = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(network, str(final)).eval()
    stored = {name.removesuffix(".weight") for name in load_file(final / "adapter_model.safetensors")}
    expected = {name.removesuffix(".default.weight") for name, _ in model.named_parameters() if "lora_" in name}
    if stored != expected:
        sys.exit(f"lora: {final}: PEFT and the file differ in {sorted(stored ^ expected)[:4]}")
    return model


def check_final(name, case, base):
    final = case / "run/final"
    model = opened(base, final)
    tokenizer = AutoTokenizer.from_pretrained(final)
    total, count = 0.0, 0
    for row in json_lines(case.parent / "eval.jsonl"):
        ids, labels = peft_trainer.encode(tokenizer, row["messages"])
        trained = torch.tensor([label != IGNORED for label in labels[1:]])
        total -= log_probabilities(model, ids)[trained].sum().item()
        count += int(trained.sum())
    reported = [line for line in json_lines(final / "metrics.jsonl") if "eval_loss" in line][-1]
    if not abs(reported["eval_loss"] - total / count) <= LOGIT_TOLERANCE:
        sys.exit(f"lora: {name}: evaluation loss {reported['eval_loss']:.6f}, PEFT {total / count:.6f} over {count} tokens")
    if not math.isclose(reported["eval_perplexity"], math.exp(reported["eval_loss"]), rel_tol=1e-6):
        sys.exit(f"lora: {name}: perplexity {reported['eval_perplexity']} of the loss {reported['eval_loss']}")
    print(f"{name}: PEFT opens final/; evaluation loss {reported['eval_loss']:.6f}, PEFT {total / count:.6f}", flush=True)
    if (final / "golden.jsonl").exists():
        check_golden(name, model, json_lines(final / "golden.jsonl"))


def check_golden(name, model, rows):
    largest = 0.0
    for row in rows:
        theirs = log_probabilities(model, row["token_ids"])
        largest = max(largest, float((torch.tensor(row["logprobs"]) - theirs).abs().max()))
    if not rows or not largest <= LOGIT_TOLERANCE:
        sys.exit(f"lora: {name}: {len(rows)} rows of golden.jsonl; log-probabilities differ by {largest:.1e}")
    print(f"{name}: log-probabilities of {len(rows)} rows agree within {largest:.1e}", flush=True)


def check_first_step(name, case, base):
    """Every B must move in the first step."""
    run_file = write_run_file(case, base, "one", {"max_steps": 1, "warmup_steps": 0})
    headstart("train", run_file, "--workers", 2, "--device", "cpu")
    tensors = load_file(case / "one/final/adapter_model.safetensors")
    products = {key: tensor for key, tensor in tensors.items() if ".lora_B." in key}
    still = sorted(key for key, tensor in products.items() if not tensor.any())
    if still or not products:
        sys.exit(f"lora: {name}: after step 1, {len(still)} of {len(products)} B are zero: {still[:4]}")
    print(f"{name}: after step 1, none of {len(products)} B is zero", flush=True)


def main():
    root = pathlib.Path(sys.argv[1])
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    write_data(root)
    small_qwen3(root / "small-qwen3")
    for name, base in (("qwen3", root / "small-qwen3"), ("smollm2", SMOLLM2)):
        case = root / name
        case.mkdir()
        evaluation = {"eval_datasets": [{"path": str(root / "eval.jsonl")}], "eval_strategy": "steps", "eval_steps": STEPS}
        changes = {"max_steps": STEPS, "warmup_steps": WARMUP_STEPS, **evaluation}
        run_file = write_run_file(case, base, "run", changes)
        check_rows(name, case, base, run_file)
        compare_losses(name, case, base, run_file)
        check_final(name, case, base)
        check_first_step(name, case, base)


if __name__ == "__main__":
    main()
