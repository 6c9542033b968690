"""Makes the stored references of decoders, decoders/<model_type>/.

Run with transformers 5.23 and torch 2.11 installed, from anywhere; without names, all are made:

    OMP_NUM_THREADS=1 python make_decoders.py [MODEL_TYPE…]

A family's main case has as many switches on as fit together: config.json and model.safetensors as transformers saves them,
parameters.json (shape of each saved tensor, and whether the Trainer decays it), gradients.safetensors (of the summed loss,
under the names of saved weights), reference.json (below) and logits.safetensors (`main`, and `after_step`: after a step of
SGD along the mean gradient; [tokens, vocabulary], rows end to end).

Each flip is the main case with one switch changed. flips.safetensors has what it needs and what comes of it: `<flip>/logits`,
`<flip>/gradient/<parameter>` for the embeddings and the first layer's queries, keys and values, and `<flip>/weight/<parameter>` for
parameters that the main case lacks or that have another shape. The flip must move the logits by 100 times the tolerance.

reference.json: `rows` (token ids), `trained` (whether a token is a target), `loss_sum`, `tokens` (targets), `step`
(`learning_rate`, `loss_sum` after it), and `flips`: `name`, `keys` (changes of config.json), `loss_sum`, `moved` (largest
difference of a logit, as a part of the largest), and `head_norms: false` where the norms of queries and keys are left out.
"""

import copy
import json
import pathlib
import shutil
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, Trainer, TrainingArguments

HERE = pathlib.Path(__file__).parent / "decoders"
TOLERANCE = 1e-4
LEARNING_RATE = 0.05
VOCAB, HEAD = 24, 6

# Longer than the windows, than the positions before stretching, and as short as a row can be. Token 3 pads where a
# configuration says so, and stands in texts all the same.
ROWS = [
    [1, 17, 3, 5, 22, 9, 9, 14, 20, 11, 3, 8, 19, 2, 13, 6, 21, 10, 18, 4, 12, 23, 7, 16, 15, 3],
    [1, 8, 3],
    [1, 12, 20, 20, 6, 15, 9, 2],
]
TRAINED = [
    [False] * 3 + [True] * 6 + [False] * 5 + [True] * 12,
    [False, True, True],
    [False, False, True, False, True, True, False, True],
]

SIZES = {
    "vocab_size": VOCAB, "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": HEAD, "max_position_embeddings": 64, "attention_dropout": 0.0,
    "bos_token_id": 1, "eos_token_id": 2,
}
THETA = 50.0
DEFAULT = {"rope_type": "default", "rope_theta": THETA}
LINEAR = {"rope_type": "linear", "factor": 4.0, "rope_theta": THETA}
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16, "rope_theta": THETA,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": THETA}
ROPES = {"default": DEFAULT, "linear": LINEAR, "llama3": LLAMA3, "yarn": YARN}

FAMILIES = {
    "llama": {
        **SIZES, "rope_parameters": LLAMA3, "attention_bias": True, "mlp_bias": True, "pad_token_id": 3,
        "rms_norm_eps": 1e-2, "tie_word_embeddings": False,
    },
    "qwen2": {
        **SIZES, "rope_parameters": YARN, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1,
        "tie_word_embeddings": True, "rms_norm_eps": 1e-6,
    },
    "qwen3": {
        **SIZES, "rope_parameters": DEFAULT, "use_sliding_window": True, "sliding_window": 7, "max_window_layers": 0,
        "layer_types": ["sliding_attention", "full_attention"], "attention_bias": False, "tie_word_embeddings": True,
        "pad_token_id": 3, "rms_norm_eps": 1e-6,
    },
}
COMMON = {
    "theta": lambda main: {"rope_parameters": {**main["rope_parameters"], "rope_theta": 500.0}},
    "untied or tied": lambda main: {"tie_word_embeddings": not main["tie_word_embeddings"]},
    "as many key heads as query heads": lambda main: {"num_key_value_heads": 4},
    "smaller heads": lambda main: {"head_dim": 4},
    "another activation": lambda main: {"hidden_act": "gelu_pytorch_tanh"},
    "another epsilon": lambda main: {"rms_norm_eps": 0.1},
}
FLIPS = {
    "llama": {
        "no attention biases": {"attention_bias": False},
        "no mlp biases": {"mlp_bias": False},
    },
    "qwen2": {
        "no window": {"use_sliding_window": False, "layer_types": None},
        "a wider window": {"sliding_window": 9},
        "windows in all layers": {"max_window_layers": 0, "layer_types": None},
        "windows in the other layers": {"layer_types": ["sliding_attention", "full_attention"]},
    },
    "qwen3": {
        "no window": {"use_sliding_window": False, "layer_types": ["full_attention", "full_attention"]},
        "a wider window": {"sliding_window": 9},
        "windows in the other layers": {"layer_types": ["full_attention", "sliding_attention"]},
        "attention biases": {"attention_bias": True},
    },
}


def config_of(model_type, keys):
    return AutoConfig.for_model(model_type, **copy.deepcopy({k: v for k, v in keys.items() if v is not None}))


def saved(model, values):
    """`values` (by the model's own names) under the names of saved weights."""
    holder = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in holder.named_parameters():
            parameter.copy_(values[name])
    with tempfile.TemporaryDirectory() as directory:
        holder.save_pretrained(directory)
        return load_file(f"{directory}/model.safetensors")


def decays(model):
    """Saved names, and whether transformers' Trainer decays them."""
    with tempfile.TemporaryDirectory() as directory:
        trainer = Trainer(model, TrainingArguments(directory, report_to=[], use_cpu=True))
        decayed = set(trainer.get_decay_parameter_names(model))
    flags = {name: torch.full_like(p, float(name in decayed)) for name, p in model.named_parameters()}
    return {name: bool(flag.flatten()[0]) for name, flag in saved(model, flags).items()}


def logits_of(model):
    """Each row alone, so that nothing pads it and nothing stands before it; [tokens, vocabulary]."""
    return torch.cat([model(input_ids=torch.tensor([row])).logits[0] for row in ROWS])


def loss_of(logits):
    """Sum over targets of −log p(token | tokens before it)."""
    total, start = 0, 0
    for row, trained in zip(ROWS, TRAINED):
        places = torch.tensor([place for place in range(1, len(row)) if trained[place]])
        targets = torch.tensor(row)[places]
        total = total + torch.nn.functional.cross_entropy(logits[start + places - 1], targets, reduction="sum")
        start += len(row)
    return total


def compute(model):
    """Logits, summed loss, and gradients under saved names."""
    model.train()
    model.zero_grad()
    logits = logits_of(model)
    loss = loss_of(logits)
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return logits.detach(), loss.item(), saved(model, gradients)


def adapted(name, shape, main):
    """A parameter of a flip, made of the main case's, so that the flip and nothing else moves the logits."""
    part = name.split(".")[-2]
    if name == "lm_head.weight":
        generator = torch.Generator().manual_seed(21)
        return main["model.embed_tokens.weight"] + 0.2 * torch.randn(*shape, generator=generator)
    if name not in main:  # biases
        return 0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(len(name)))
    weight = main[name]
    if part in ("q_norm", "k_norm"):
        return weight[: shape[0]]
    if part == "o_proj":
        return weight.view(-1, 4, HEAD)[:, :, : shape[1] // 4].reshape(shape)
    heads = weight.view(-1, HEAD, *weight.shape[1:])
    kept = shape[0] // (2 if part != "q_proj" else 4)
    if part != "q_proj" and kept == 2 * HEAD:
        # The heads one after the other again: what comes of heads that are repeated in the wrong order.
        return torch.cat([heads, heads]).reshape(shape)
    return heads[:, :kept].reshape(shape)


def flip(model_type, main, weights, changes):
    """A model with the main case's weights but for one switch, and the weights that are its own."""
    model = AutoModelForCausalLM.from_config(config_of(model_type, {**main, **changes}))
    own = {}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            weight = weights.get(name)
            if weight is None or weight.shape != parameter.shape:
                weight = own[name] = adapted(name, parameter.shape, weights).contiguous()
            parameter.copy_(weight)
    model.tie_weights()
    return model, own


def without_head_norms(model):
    for layer in model.model.layers:
        layer.self_attn.q_norm = layer.self_attn.k_norm = torch.nn.Identity()
    return model


def make(model_type):
    main = FAMILIES[model_type]
    directory = HERE / model_type
    shutil.rmtree(directory, ignore_errors=True)
    torch.manual_seed(5)
    model = AutoModelForCausalLM.from_config(config_of(model_type, main))
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        # At their usual first values, attention hardly depends on positions, and biases are zero.
        for name, parameter in model.named_parameters():
            scale = 0.5 if "proj.weight" in name or "lm_head" in name else 0.2
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(directory)
    (directory / "generation_config.json").unlink(missing_ok=True)
    weights = load_file(directory / "model.safetensors")
    decay = decays(model)
    table = {key: {"shape": list(weights[key].shape), "decay": decay[key]} for key in sorted(weights)}
    (directory / "parameters.json").write_text(json.dumps(table, indent=1) + "\n")
    logits, loss, gradients = compute(model)
    save_file(gradients, directory / "gradients.safetensors", metadata={"format": "pt"})
    if main.get("pad_token_id") is not None:
        check_padding(model_type, main, weights, gradients)

    largest = logits.abs().max()
    changes = {
        **{f"rope {name}": {"rope_parameters": rope} for name, rope in ROPES.items() if rope != main["rope_parameters"]},
        **{name: change(main) for name, change in COMMON.items()},
        **FLIPS[model_type],
    }
    models = {name: (change, *flip(model_type, main, weights, change)) for name, change in changes.items()}
    if model_type == "qwen3":
        models["no norms of queries and keys"] = ({}, without_head_norms(copy.deepcopy(model)), {})
    stored, flips = {}, []
    for name, (change, flipped, own) in models.items():
        found, sum_of, slopes = compute(flipped)
        moved = float((found - logits).abs().max() / largest)
        assert moved > 100 * TOLERANCE, f"{model_type}, {name}: the logits move by {moved:.1e} only"
        stored[f"{name}/logits"] = found
        for key, value in own.items():
            stored[f"{name}/weight/{key}"] = value
        for key, value in slopes.items():
            if key == "model.embed_tokens.weight" or any(f"layers.0.self_attn.{part}_proj" in key for part in "qkv"):
                stored[f"{name}/gradient/{key}"] = value
        entry = {"name": name, "keys": change, "loss_sum": sum_of, "moved": moved}
        flips.append({**entry, **({"head_norms": False} if not change else {})})
    save_file(stored, directory / "flips.safetensors", metadata={"format": "pt"})

    tokens = sum(map(sum, TRAINED))
    compute(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.sub_(LEARNING_RATE * parameter.grad / tokens)
        after = logits_of(model)
    save_file({"main": logits, "after_step": after}, directory / "logits.safetensors", metadata={"format": "pt"})
    reference = {
        "rows": ROWS, "trained": TRAINED, "tokens": tokens, "loss_sum": loss,
        "step": {"learning_rate": LEARNING_RATE, "loss_sum": loss_of(after).item()}, "flips": flips,
    }
    (directory / "reference.json").write_text(json.dumps(reference, indent=1) + "\n")
    size = sum(file.stat().st_size for file in directory.iterdir())
    print(f"{model_type}: {len(flips)} flips, {size} bytes, least moved {min(entry['moved'] for entry in flips):.1e}")


def check_padding(model_type, main, weights, gradients):
    """The row of the embeddings that pads gets no gradient from looking it up: leaving the key out must show."""
    model, own = flip(model_type, main, weights, {"pad_token_id": None})
    assert not own
    name = "model.embed_tokens.weight"
    difference = (compute(model)[2][name] - gradients[name]).abs()
    assert difference[3].max() > 100 * TOLERANCE * gradients[name].abs().max()
    assert difference[[row for row in range(VOCAB) if row != 3]].max() == 0


if __name__ == "__main__":
    for model_type in sys.argv[1:] or FAMILIES:
        make(model_type)
