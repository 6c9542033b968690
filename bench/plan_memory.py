#!/usr/bin/env python3
"""Compares the memory that `headstart plan` predicts with what small runs use at most (VmHWM of each process).

Each case is a run file and what is changed in it. The worker that used most counts. LIMIT (15) is the error, in per cent,
above which the exit code is 1; ONLY=TEXT runs the cases with TEXT in their names. Cases of a vocabulary have a network, a
tokenizer of bytes and rows of LANGUAGE_ROW bytes of their own, in a directory that goes with the case.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIMIT = float(os.environ.get("LIMIT", 15))
STEPS = 4
DIGITS, SECTIONS, ASSISTANT = "examples/digits/scratch.yaml", "examples/sections/run.yaml", "examples/assistant/run.yaml"
LANGUAGE_ROW = 511
LANGUAGE_ROWS = 64
TINY = {
    "init": "random",
    "model_overrides.hidden_size": 64,
    "model_overrides.num_hidden_layers": 2,
    "model_overrides.num_attention_heads": 4,
    "model_overrides.intermediate_size": 128,
}


def batch(micro_batch, total, shards):
    return {"per_device_train_batch_size": micro_batch, "global_batch_size": total, "shards_per_step": shards}


BERT_BASE = {
    "init": "random",
    "model_overrides.hidden_size": 768,
    "model_overrides.num_hidden_layers": 12,
    "model_overrides.intermediate_size": 3072,
}
# Of the adapter's run file; `null` takes a key away.
WHOLE_MODEL = {key: None for key in ("adapter", "lora_r", "lora_alpha", "lora_target_modules")}
LLAMA = {
    "model_type": "llama",
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 256,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}
QWEN3 = {
    "model_type": "qwen3",
    "hidden_size": 512,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "intermediate_size": 1536,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
    "vocab_size": 20_000,
}

CASES = {
    "digits, 8 shards, 2 workers": (DIGITS, 2, {}),
    "digits, batch 256 in 1 shard": (DIGITS, 1, batch(256, 256, 1)),
    "tiny BERT, 512 tokens, batch 16": (SECTIONS, 1, {**TINY, **batch(16, 32, 2), "sequence_len": 512}),
    "MiniLM, batch 4 in 8 shards": (SECTIONS, 1, {}),
    "MiniLM, 8 shards, 3 workers, many commits": (SECTIONS, 3, {"save_steps": 1, "max_steps": 6}),
    "MiniLM, batch 32, 1 shard, 2 threads": (SECTIONS, 1, {**batch(32, 32, 1), "threads_per_worker": 2}),
    "MiniLM, batch 64, 2 shards, 32 tokens": (SECTIONS, 2, {**batch(64, 128, 2), "sequence_len": 32}),
    "MiniLM, random, batch 8, 16 shards, SGD": (SECTIONS, 2, {**batch(8, 128, 16), "init": "random", "optim": "sgd"}),
    "BERT-base, random, batch 8, 4 shards": (SECTIONS, 2, {**BERT_BASE, **batch(8, 32, 4)}),
    "MiniLM, adapter, batch 16, 2 shards": (SECTIONS, 1, {**batch(16, 32, 2), "adapter": "lora"}),
    "SmolLM2, adapter, batch 4": (ASSISTANT, 1, {}),
    "SmolLM2, adapter, batch 4, checkpointing": (ASSISTANT, 1, {"gradient_checkpointing": True}),
    "SmolLM2, adapter with dropout, batch 2": (ASSISTANT, 2, {**batch(2, 8, 4), "lora_dropout": 0.1}),
    "SmolLM2, all of it, batch 2": (ASSISTANT, 1, {**WHOLE_MODEL, **batch(2, 4, 2)}),
    "llama, vocabulary of 1,000": ({**LLAMA, "vocab_size": 1_000}, 1, batch(4, 8, 2)),
    "llama, vocabulary of 150,000": ({**LLAMA, "vocab_size": 150_000}, 1, batch(4, 8, 2)),
    "qwen3, random, batch 4": (QWEN3, 2, batch(4, 16, 4)),
    "qwen3, random, checkpointing": (QWEN3, 1, {**batch(8, 16, 2), "gradient_checkpointing": True}),
}


def arguments(changes):
    return [part for key, value in changes.items() for part in ("--set", f"{key}={json.dumps(value)}")]


def write_language_model(directory, config):
    """A run file of a network from random weights, with a tokenizer of bytes and rows that all have the same length."""
    # GPT-2's alphabet: printable bytes stand for themselves, others for characters from 256 on.
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = [chr(byte) for byte in printable] + [chr(256 + place) for place in range(len(others))]
    end = {"id": 256, "content": "<end>", "special": True}
    end |= dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [end],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": {text: number for number, text in enumerate(alphabet)}, "merges": []},
    }
    files = {
        "config.json": config,
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<end>"},
        "run.yaml": {
            "base_model": str(directory),
            "init": "random",
            "task": "causal-lm",
            "datasets": [{"path": str(directory / "rows.jsonl")}],
            "output_dir": str(directory / "run"),
            "sequence_len": LANGUAGE_ROW + 1,
            "threads_per_worker": 1,
        },
    }
    for name, content in files.items():
        (directory / name).write_text(json.dumps(content), encoding="utf-8")
    row = json.dumps({"text": "abcdefg " * (LANGUAGE_ROW // 8) + "a" * (LANGUAGE_ROW % 8)})
    (directory / "rows.jsonl").write_text(f"{row}\n" * LANGUAGE_ROWS, encoding="utf-8")
    return str(directory / "run.yaml")


def predicted(run_file, workers, sets):
    command = ["headstart", "plan", run_file, "--workers", str(workers), *sets, "--format", "json"]
    command += ["--samples-per-second", "1", "--bandwidth", "1e9"]
    plan = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return plan["memory"]["worker_bytes"], plan["memory"]["coordinator_bytes"]


def children(parent):
    """Program names of the children of a process, by process id."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        try:
            name, _, rest = (entry / "stat").read_text(encoding="utf-8").partition("(")[2].rpartition(") ")
            if entry.name.isdigit() and int(rest.split()[1]) == parent:
                found[int(entry.name)] = name
        except OSError:
            pass
    return found


def peak(process):
    try:
        status = pathlib.Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)


def measured(run_file, workers, sets):
    command = ["headstart", "train", run_file, "--workers", str(workers), "--device", "cpu", *sets]
    with open(os.devnull, "w", encoding="utf-8") as null:
        run = subprocess.Popen(command, stdout=null, stderr=null)
    peaks = {}
    while run.poll() is None:
        for process, name in children(run.pid).items():
            kind, most = peaks.get(process, (name, 0))
            peaks[process] = (kind, max(most, peak(process)))
        time.sleep(0.02)
    if run.returncode:
        sys.exit(f"{' '.join(command)}: exit code {run.returncode}")
    # The kernel keeps 15 characters of a program's name.
    most = {kind: max(size for name, size in peaks.values() if name == kind) for kind in dict(peaks.values())}
    return most["headstart-worke"], most["headstart-coord"]


def main():
    os.chdir(ROOT)
    worst = 0
    only = os.environ.get("ONLY", "")
    print(f"{'':<42}{'predicted':>12}{'measured':>12}{'error':>9}")
    for name, (run_file, workers, changes) in CASES.items():
        if only not in name:
            continue
        with tempfile.TemporaryDirectory() as directory:
            directory = pathlib.Path(directory)
            output = directory / "run"
            if isinstance(run_file, dict):
                run_file = write_language_model(directory, run_file)
            changes = {
                "max_steps": STEPS,
                **changes,
                "output_dir": str(output),
                "eval_strategy": "no",
                "warmup_steps": 0,
                "cluster.min_workers": workers,
            }
            sets = arguments(changes)
            plan = predicted(run_file, workers, sets)
            found = measured(run_file, workers, sets)
            shutil.rmtree(output, ignore_errors=True)
        for kind, expected, actual in zip(("worker", "coordinator"), plan, found):
            error = 100 * (expected / actual - 1)
            worst = max(worst, abs(error))
            line = f"{name + ': ' + kind:<55}"[:60]
            print(f"{line}{expected / 2**20:>8.0f} MiB{actual / 2**20:>8.0f} MiB{error:>+8.1f} %", flush=True)
    print(f"largest error: {worst:.1f} %")
    return worst > LIMIT


if __name__ == "__main__":
    sys.exit(main())
