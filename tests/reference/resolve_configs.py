"""Writes configs/resolved.json: what transformers makes of configurations of decoders, for the tests of src/model.

The files configs/<name>.json are the config.json of models that people train, as their makers published them. Beside them
stand variants in each spelling. Run with transformers 5.23 and torch 2.11 installed, from anywhere:

    python resolve_configs.py
"""

import copy
import json
import pathlib
import tempfile

import torch
from transformers import AutoConfig, AutoModelForCausalLM

HERE = pathlib.Path(__file__).parent / "configs"

SIZES = {
    "vocab_size": 32, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
YARN = {"factor": 4.0, "original_max_position_embeddings": 16}


def llama(**keys):
    return {"model_type": "llama", **SIZES, **keys}


def qwen2(**keys):
    return {"model_type": "qwen2", **SIZES, "num_key_value_heads": 2, **keys}


def qwen3(**keys):
    return {"model_type": "qwen3", **SIZES, "num_key_value_heads": 2, "head_dim": 12, **keys}


VARIANTS = {
    "nothing said": llama(),
    "v4 theta": llama(rope_theta=5e5),
    "v5 theta": llama(rope_parameters={"rope_type": "default", "rope_theta": 5e5}),
    "v5 without a theta": llama(rope_parameters={"rope_type": "default"}),
    "v5 theta at the top": llama(rope_parameters={"rope_type": "default"}, rope_theta=7e4),
    "inner theta wins": llama(rope_parameters={"rope_type": "default", "rope_theta": 3e4}, rope_theta=7e4),
    "rope_scaling null": llama(rope_scaling=None, rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 3e4}),
    "rope_scaling empty": llama(rope_scaling={}, rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 3e4}),
    "rope_scaling wins": llama(
        rope_scaling={"type": "linear", "factor": 4.0},
        rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 3e4},
        rope_theta=2e4,
    ),
    "v4 linear": llama(rope_scaling={"type": "linear", "factor": 2.5}),
    "v4 rope_type before type": llama(rope_scaling={"rope_type": "default", "type": "linear", "factor": 2.5}),
    "v5 linear, whole factor": llama(rope_parameters={"rope_type": "linear", "factor": 3, "rope_theta": 1e4}),
    "v4 llama3": llama(rope_scaling={"rope_type": "llama3", **LLAMA3}, rope_theta=5e5),
    "v5 llama3": llama(rope_parameters={"rope_type": "llama3", **LLAMA3, "rope_theta": 5e5}),
    "llama3 of small bands": llama(
        head_dim=64, rope_theta=100.0,
        rope_scaling={"rope_type": "llama3", "factor": 3.0, "low_freq_factor": 1.5, "high_freq_factor": 9.0,
                      "original_max_position_embeddings": 48},
    ),
    "llama3, original at the top": llama(
        original_max_position_embeddings=16, rope_theta=5e5,
        rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                      "original_max_position_embeddings": 32},
    ),
    "llama3 without an original": llama(
        rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    ),
    "v4 yarn": llama(rope_scaling={"type": "yarn", **YARN}),
    "v5 yarn": qwen2(rope_parameters={"rope_type": "yarn", **YARN, "rope_theta": 1e6}),
    "yarn, attention_factor": qwen3(rope_scaling={"rope_type": "yarn", **YARN, "attention_factor": 1.25}),
    "yarn, betas": llama(head_dim=64, rope_scaling={"rope_type": "yarn", **YARN, "beta_fast": 8, "beta_slow": 2.0}),
    "yarn, betas of nothing": llama(head_dim=64, rope_scaling={"rope_type": "yarn", **YARN, "beta_fast": 0, "beta_slow": None}),
    "yarn, not cut": llama(head_dim=64, rope_scaling={"rope_type": "yarn", **YARN, "truncate": False}),
    "yarn, mscale": llama(rope_scaling={"rope_type": "yarn", **YARN, "mscale": 0.7, "mscale_all_dim": 1.1}),
    "yarn, mscale alone": llama(rope_scaling={"rope_type": "yarn", **YARN, "mscale": 0.7}),
    "yarn, factor to be found": llama(
        rope_scaling={"rope_type": "yarn", "factor": None, "original_max_position_embeddings": 16},
    ),
    "yarn, factor 1": llama(rope_scaling={"rope_type": "yarn", "factor": 1.0, "original_max_position_embeddings": 64}),
    "head_dim": llama(head_dim=6, num_key_value_heads=1),
    "head_dim null": llama(head_dim=None, num_key_value_heads=None),
    "tied": llama(tie_word_embeddings=True),
    "tied, with padding": qwen3(tie_word_embeddings=True, pad_token_id=3),
    "padding from the end": llama(pad_token_id=-1),
    "biases": llama(attention_bias=True, mlp_bias=True),
    "attention biases": llama(attention_bias=True),
    "mlp biases": llama(mlp_bias=True),
    "qwen2": qwen2(),
    "qwen2 with head_dim": qwen2(head_dim=10),
    "qwen2 window unused": qwen2(sliding_window=8, max_window_layers=1),
    "qwen2 windows": qwen2(sliding_window=8, max_window_layers=1, use_sliding_window=True),
    "qwen2 windows from the first layer": qwen2(sliding_window=8, max_window_layers=0, use_sliding_window=True),
    "qwen2 windows by default": qwen2(max_window_layers=2, use_sliding_window=True),
    "qwen2 windows null": qwen2(sliding_window=None, max_window_layers=1, use_sliding_window=True),
    "qwen2 layer types": qwen2(
        sliding_window=8, max_window_layers=3, use_sliding_window=True,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
    "qwen3": qwen3(),
    "qwen3 head_dim by default": {key: value for key, value in qwen3().items() if key != "head_dim"},
    "qwen3 biases": qwen3(attention_bias=True),
    "qwen3 windows": qwen3(sliding_window=5, max_window_layers=2, use_sliding_window=True),
    "relu": qwen2(hidden_act="relu"),
    "constants": llama(rms_norm_eps=1e-3, initializer_range=0.5, attention_dropout=0.25),
}


def resolved(config):
    """What transformers takes from a config.json, and the network that it builds, with its parameters' shapes."""
    with tempfile.TemporaryDirectory() as directory:
        (pathlib.Path(directory) / "config.json").write_text(json.dumps(config))
        read = AutoConfig.from_pretrained(directory)
    # Rotary positions are computed on the CPU, as in from_pretrained; a layer shows what all are.
    small = copy.deepcopy(read)
    small.num_hidden_layers, small.vocab_size, small.intermediate_size = 1, 8, 8
    if getattr(small, "pad_token_id", None) is not None:
        small.pad_token_id = 0
    if getattr(small, "layer_types", None):
        small.layer_types = small.layer_types[:1]
    rope = AutoModelForCausalLM.from_config(small).model.rotary_emb
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(read)
    attention = model.model.layers[0].self_attn
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    inside = {name: shape for name, shape in shapes.items() if ".layers." not in name or ".layers.0." in name}
    if read.tie_word_embeddings:
        inside.pop("lm_head.weight")
    return {
        "class": type(model).__name__,
        "inv_freq": rope.inv_freq.tolist(),
        "attention_scaling": rope.attention_scaling,
        "rope_type": rope.rope_type,
        "shapes_of_the_first_layer": inside,
        "layers": len(model.model.layers),
        "head_dim": attention.head_dim,
        "windows": [getattr(layer.self_attn, "sliding_window", None) for layer in model.model.layers],
        "padding": model.model.embed_tokens.padding_idx,
        "tied": bool(read.tie_word_embeddings),
        "max_position_embeddings": read.max_position_embeddings,
        "rms_norm_eps": model.model.norm.variance_epsilon,
        "initializer_range": read.initializer_range,
        "attention_dropout": attention.attention_dropout,
        "hidden_act": read.hidden_act,
    }


if __name__ == "__main__":
    cases = {path.stem: json.loads(path.read_text()) for path in sorted(HERE.glob("*.json")) if path.stem != "resolved"}
    found = [{"name": name, "file": f"{name}.json", **resolved(config)} for name, config in cases.items()]
    found += [{"name": name, "config": config, **resolved(config)} for name, config in VARIANTS.items()]
    lines = ",\n".join(json.dumps(case) for case in found)
    (HERE / "resolved.json").write_text(f"[\n{lines}\n]\n")
