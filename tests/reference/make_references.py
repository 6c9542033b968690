"""Makes the stored references that the worker's networks are tested against.

Run with transformers 5.23 and torch 2.11 installed, from anywhere; without names, all are made:

    OMP_NUM_THREADS=1 python make_references.py [NAME…]

Per network it writes beside itself: config.json and model.safetensors as transformers saves them, parameters.json
(shape of each saved tensor, and whether the Trainer decays it), gradients.safetensors (of the *summed* loss, under
the names of the saved weights) and reference.json (inputs, logits, summed loss, losses of five AdamW steps).
"""

import copy
import json
import pathlib
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DeiTConfig,
    DeiTForImageClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    Gemma3TextConfig,
    Gemma3TextModel,
    RobertaConfig,
    RobertaForSequenceClassification,
    Trainer,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)

HERE = pathlib.Path(__file__).parent
LEARNING_RATE, WEIGHT_DECAY, STEPS = 1e-2, 0.1, 5


def bert():
    config = BertConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, num_labels=3,
    )
    rows = [[2, 17, 33, 5, 60, 9, 3], [2, 8, 3], [2, 41, 41, 12, 3]]
    longest = max(map(len, rows))
    inputs = {
        "input_ids": torch.tensor([row + [0] * (longest - len(row)) for row in rows]),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows]),
        "token_type_ids": torch.tensor([[0, 0, 0, 1, 1, 1, 1], [0] * 7, [0, 0, 1, 1, 1, 0, 0]]),
    }
    return BertForSequenceClassification(config), inputs, torch.tensor([2, 0, 1])


def vit():
    config = ViTConfig(
        image_size=8, patch_size=2, num_channels=1, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=48, num_labels=3,
    )
    pixels = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    return ViTForImageClassification(config), {"pixel_values": pixels}, torch.tensor([1, 2, 0])


def texts(padding, types=False):
    """Three rows; the first holds the padding token in its middle, as a text may."""
    rows = [[0, 17, padding, 5, 27, 9, 2], [0, 8, 2], [0, 21, 21, 12, 2]]
    longest = max(map(len, rows))
    inputs = {
        "input_ids": torch.tensor([row + [padding] * (longest - len(row)) for row in rows]),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows]),
    }
    if types:
        inputs["token_type_ids"] = torch.tensor([[0, 0, 0, 1, 1, 1, 1], [0] * 7, [0, 0, 1, 1, 1, 0, 0]])
    return inputs


SIZES = {"vocab_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "num_labels": 3}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def distilbert():
    config = DistilBertConfig(
        vocab_size=32, dim=16, n_layers=2, n_heads=2, hidden_dim=24, max_position_embeddings=16, dropout=0.0,
        attention_dropout=0.0, seq_classif_dropout=0.0, num_labels=3,
    )
    return DistilBertForSequenceClassification(config), texts(0), torch.tensor([2, 0, 1])


def roberta():
    config = RobertaConfig(**SIZES, **NO_DROPOUT, hidden_size=16, max_position_embeddings=12, type_vocab_size=1)
    return RobertaForSequenceClassification(config), texts(1), torch.tensor([2, 0, 1])


def xlm_roberta():
    config = XLMRobertaConfig(
        **SIZES, **NO_DROPOUT, hidden_size=16, max_position_embeddings=12, type_vocab_size=1, layer_norm_eps=1e-5,
    )
    return XLMRobertaForSequenceClassification(config), texts(1), torch.tensor([2, 0, 1])


def electra():
    config = ElectraConfig(**SIZES, **NO_DROPOUT, hidden_size=16, embedding_size=8, max_position_embeddings=12)
    return ElectraForSequenceClassification(config), texts(0, types=True), torch.tensor([2, 0, 1])


def deit():
    config = DeiTConfig(
        image_size=8, patch_size=2, num_channels=1, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, num_labels=3,
    )
    pixels = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(4))
    return DeiTForImageClassification(config), {"pixel_values": pixels}, torch.tensor([1, 2, 0])


def saved(model, values):
    """`values` (by the model's own names) under the names of saved weights."""
    holder = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in holder.named_parameters():
            parameter.copy_(values[name])
    with tempfile.TemporaryDirectory() as directory:
        holder.save_pretrained(directory)
        return load_file(f"{directory}/model.safetensors")


def decayed_parameters(model):
    """Saved names of the parameters that transformers' Trainer decays."""
    with tempfile.TemporaryDirectory() as directory:
        trainer = Trainer(model, TrainingArguments(directory, report_to=[], use_cpu=True))
        decayed = set(trainer.get_decay_parameter_names(model))
    flags = {name: torch.full_like(p, float(name in decayed)) for name, p in model.named_parameters()}
    return {name: bool(flag.flatten()[0]) for name, flag in saved(model, flags).items()}, decayed


def make(name, network):
    torch.manual_seed(5)
    model, inputs, labels = network()
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        # Biases and norms too: at their usual first values many mistakes would not show.
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape, generator=generator))
    directory = HERE / name
    model.save_pretrained(directory)
    decay, decayed = decayed_parameters(model)
    weights = load_file(directory / "model.safetensors")
    table = {key: {"shape": list(weights[key].shape), "decay": decay[key]} for key in sorted(weights)}
    (directory / "parameters.json").write_text(json.dumps(table, indent=1) + "\n")

    model.train()
    criterion = torch.nn.CrossEntropyLoss(reduction="sum")
    logits = model(**inputs).logits
    loss = criterion(logits, labels)
    loss.backward()
    gradients = saved(model, {key: parameter.grad for key, parameter in model.named_parameters()})
    save_file(gradients, directory / "gradients.safetensors", metadata={"format": "pt"})

    groups = [
        {"params": [p for key, p in model.named_parameters() if key in decayed], "weight_decay": WEIGHT_DECAY},
        {"params": [p for key, p in model.named_parameters() if key not in decayed], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        step_loss = criterion(model(**inputs).logits, labels) / len(labels)
        step_loss.backward()
        optimizer.step()
        losses.append(step_loss.item())
    reference = {
        "inputs": {key: value.tolist() for key, value in inputs.items()},
        "labels": labels.tolist(),
        "logits": logits.tolist(),
        "loss_sum": loss.item(),
        "adamw": {"learning_rate": LEARNING_RATE, "weight_decay": WEIGHT_DECAY, "losses": losses},
    }
    (directory / "reference.json").write_text(json.dumps(reference) + "\n")


def make_decoder():
    """A decoder that uses every part no encoder has: what its layers make of two rows, the second one padded."""
    torch.manual_seed(6)
    config = Gemma3TextConfig(
        vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=6, sliding_window=3, query_pre_attn_scalar=5, max_position_embeddings=32,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"], attention_dropout=0.0,
    )
    model = Gemma3TextModel(config).eval()
    generator = torch.Generator().manual_seed(12)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape, generator=generator))
    inputs = {
        "input_ids": torch.tensor([[2, 17, 9, 5, 27, 9, 11], [2, 8, 30, 4, 0, 0, 0]]),
        "attention_mask": torch.tensor([[1] * 7, [1] * 4 + [0] * 3]),
    }
    with torch.no_grad():
        states = model(**inputs, output_hidden_states=True).hidden_states
    directory = HERE / "decoder"
    directory.mkdir(exist_ok=True)
    save_file(
        {key: value.contiguous() for key, value in model.state_dict().items()},
        directory / "model.safetensors",
        metadata={"format": "pt"},
    )
    real = inputs["attention_mask"].bool()
    reference = {
        "inputs": {key: value.tolist() for key, value in inputs.items()},
        "rope": {kind: getattr(model.rotary_emb, f"{kind}_inv_freq").tolist() for kind in set(config.layer_types)},
        # Padding attends to itself at will: only real tokens are compared.
        "after_two_layers": states[2][real].tolist(),
    }
    (directory / "reference.json").write_text(json.dumps(reference, sort_keys=True) + "\n")


NETWORKS = {
    "bert": bert,
    "vit": vit,
    "distilbert": distilbert,
    "roberta": roberta,
    "xlm-roberta": xlm_roberta,
    "electra": electra,
    "deit": deit,
}

if __name__ == "__main__":
    for name in sys.argv[1:] or [*NETWORKS, "decoder"]:
        make(name, NETWORKS[name]) if name in NETWORKS else make_decoder()
