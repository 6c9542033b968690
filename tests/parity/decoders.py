"""Every switch of decoders against transformers: one step of SGD with learning rate 1 and no clipping, by two workers.

A network begins from random weights that transformers drew. What the step changed is the gradient of the loss averaged over
the step's tokens; it is compared with transformers' for each tensor. Then transformers opens final/, and its logits are
compared with those of its own network after the same step. Rows are longer than windows and than the positions before
stretching, and of different lengths; transformers computes them one at a time.

    python decoders.py DIRECTORY     headstart must be on PATH
"""

import json
import pathlib
import subprocess
import sys

import torch
from families import TOLERANCE, compare_step
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

LETTERS = "abcdefghijklmnopqrstuvwxyz"
END = "<|endoftext|>"
LENGTHS = [50, 2, 17, 17, 31, 5, 44, 9]

SIZES = {
    "vocab_size": 264, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "attention_dropout": 0.0, "pad_token_id": None,
    "bos_token_id": None, "eos_token_id": 0,
}
THETA = {"rope_theta": 100.0}
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16, **THETA,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, **THETA}
LINEAR = {"rope_type": "linear", "factor": 4.0, **THETA}
WINDOW = {"use_sliding_window": True, "sliding_window": 7}
CASES = {
    "llama": ("llama", {}),
    "llama, tied": ("llama", {"tie_word_embeddings": True}),
    "llama, tied, pads with a letter": ("llama", {"tie_word_embeddings": True, "pad_token_id": 70}),
    "llama, all heads": ("llama", {"num_key_value_heads": 4}),
    "llama, one key head": ("llama", {"num_key_value_heads": 1}),
    "llama, head_dim": ("llama", {"head_dim": 20}),
    "llama, biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama, linear": ("llama", {"rope_parameters": LINEAR}),
    "llama, llama3": ("llama", {"rope_parameters": LLAMA3}),
    "llama, yarn": ("llama", {"rope_parameters": YARN}),
    "llama, gelu": ("llama", {"hidden_act": "gelu"}),
    "qwen2": ("qwen2", {}),
    "qwen2, windows": ("qwen2", {**WINDOW, "max_window_layers": 1}),
    "qwen2, yarn, tied": ("qwen2", {"rope_parameters": YARN, "tie_word_embeddings": True}),
    "qwen3": ("qwen3", {"head_dim": 16}),
    "qwen3, biases": ("qwen3", {"head_dim": 20, "attention_bias": True}),
    "qwen3, windows, tied": ("qwen3", {"head_dim": 16, **WINDOW, "max_window_layers": 2, "tie_word_embeddings": True}),
    "qwen3, llama3": ("qwen3", {"head_dim": 16, "rope_parameters": LLAMA3}),
}


def rows(directory):
    """Token ids of rows, each ending with the last token, which training appends."""
    # A token for each byte, under names that all classes of byte-level tokenizers understand.
    vocabulary = {token: number for number, token in enumerate([END, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END)
    tokenizer.save_pretrained(directory / "model")
    generator = torch.Generator().manual_seed(8)
    texts = []
    for length in LENGTHS:
        letters = torch.randint(len(LETTERS), (length,), generator=generator)
        texts.append("".join(LETTERS[letter] for letter in letters))
    (directory / "train.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    read = AutoTokenizer.from_pretrained(directory / "model")
    inputs = [tokenizer(text)["input_ids"] for text in texts]
    assert inputs == [read(text)["input_ids"] for text in texts] and list(map(len, inputs)) == LENGTHS
    return [torch.tensor([row + [0]]) for row in inputs]


def logits(model, inputs):
    return torch.cat([model(input_ids=row).logits[0] for row in inputs])


def mean_loss(model, inputs):
    """Mean over all tokens but each row's first of −log p(token | tokens before it)."""
    losses = [
        torch.nn.functional.cross_entropy(model(input_ids=row).logits[0, :-1], row[0, 1:], reduction="sum")
        for row in inputs
    ]
    return sum(losses) / sum(row.shape[1] - 1 for row in inputs)


def check(name, model_type, switches, directory):
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **{**SIZES, **switches}))
    generator = torch.Generator().manual_seed(10)
    with torch.no_grad():
        # Biases and norms too: at their usual first values many mistakes would not show.
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape, generator=generator))
    (directory / "model").mkdir(parents=True)
    model.save_pretrained(directory / "model")
    inputs = rows(directory)
    (directory / "run.yaml").write_text(
        "base_model: model\ntask: causal-lm\ndatasets: [{path: train.jsonl}]\noutput_dir: run\nmax_steps: 1\n"
        f"sequence_len: 64\nper_device_train_batch_size: 2\nglobal_batch_size: {len(LENGTHS)}\noptim: sgd\n"
        "learning_rate: 1\nlr_scheduler_type: constant\nwarmup_steps: 0\nmax_grad_norm: 0\nweight_decay: 0\n"
    )
    subprocess.run(
        ["headstart", "train", "run.yaml", "--workers", "2"], cwd=directory, check=True, stdout=subprocess.DEVNULL
    )
    worst = compare_step(name, directory, model, mean_loss(model, inputs))
    opened = AutoModelForCausalLM.from_pretrained(directory / "run/final", dtype=torch.float32).eval()
    with torch.no_grad():
        ours, theirs = logits(opened, inputs), logits(model.eval(), inputs)
    difference = float((ours - theirs).abs().max() / theirs.abs().max())
    assert difference <= TOLERANCE, f"{name}: logits differ by {difference:.1e}"
    print(f"{name}: gradients within {worst:.1e}, logits within {difference:.1e}")


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    for name, (model_type, switches) in CASES.items():
        check(name, model_type, switches, root / name.replace(", ", "-").replace(" ", "_"))


if __name__ == "__main__":
    main()
