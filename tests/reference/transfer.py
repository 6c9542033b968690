"""Makes the stored reference of `layer_decay`, `unfreeze` and `l2_sp`: what torch computes by their definitions.

Run with transformers 5.23 and torch 2.11 installed, from anywhere:

    OMP_NUM_THREADS=1 python transfer.py

It reads the networks that make_references.py wrote, and writes transfer.json beside each. Per case: the keys of the run file,
and of each step the mean loss before its update, the norm of the gradient before clipping, and of each parameter how far it is
from where it began after all steps (Euclidean). Optimizer, clipping and bias correction are torch's own: a parameter that does
not train yet has no gradient, so that torch leaves it, its state and its share of the norm out.
"""

import json
import pathlib
from fnmatch import fnmatchcase

import torch
from make_references import saved
from transformers import BertForSequenceClassification, ViTForImageClassification

HERE = pathlib.Path(__file__).parent
STEPS = 6
ADAMW = {"learning_rate": 3e-3, "weight_decay": 0.1, "max_grad_norm": 1.0}
SGD = {**ADAMW, "optim": "sgd", "optim_args": "momentum=0.9", "learning_rate": 5e-2}


def depth(name, layers):
    """Of a parameter by its saved name, as BEiT counts it from the head: embeddings layers + 1, layer i layers - i, others 0."""
    if ".embeddings." in name:
        return layers + 1
    parts = name.split(".")
    return layers - int(parts[parts.index("layer") + 1]) if "layer" in parts else 0


def first_step(name, entries):
    """The first step that trains a parameter, from 1."""
    named = [entry["step"] for entry in entries if any(fnmatchcase(name, part) for part in entry["parameters"])]
    return min(named, default=1)


def parameters(model):
    """The parameters by their saved names; those in memory may be others."""
    own = dict(model.named_parameters())
    tags = saved(model, {name: torch.full_like(p, float(tag)) for tag, (name, p) in enumerate(own.items())})
    values = list(own.values())
    return {name: values[int(tag.flatten()[0])] for name, tag in tags.items()}


def run(network, directory, keys):
    facts = json.loads((directory / "reference.json").read_text())
    inputs = {key: torch.tensor(value) for key, value in facts["inputs"].items()}
    labels = torch.tensor(facts["labels"])
    model = network.from_pretrained(directory, num_labels=3)
    model.train()
    own = parameters(model)
    decayed = json.loads((directory / "parameters.json").read_text())
    layers = model.config.num_hidden_layers
    began = {name: p.detach().clone() for name, p in own.items()}
    decay, entries, pull = keys.get("layer_decay", 1.0), keys.get("unfreeze", []), keys.get("l2_sp", 0.0)
    groups = [
        {
            "params": [p],
            "lr": keys["learning_rate"] * decay ** depth(name, layers),
            "weight_decay": keys["weight_decay"] if decayed[name]["decay"] else 0.0,
        }
        for name, p in own.items()
    ]
    optimizer = torch.optim.SGD(groups, momentum=0.9) if keys.get("optim") == "sgd" else torch.optim.AdamW(groups)
    losses, norms = [], []
    for step in range(1, STEPS + 1):
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(model(**inputs).logits, labels)
        loss.backward()
        for name, p in own.items():
            if step < first_step(name, entries):
                p.grad = None
        norms.append(torch.nn.utils.clip_grad_norm_(own.values(), keys["max_grad_norm"]).item())
        with torch.no_grad():
            for (name, p), group in zip(own.items(), groups):
                if p.grad is not None and not name.startswith(("classifier.", "bert.pooler.")):
                    p.sub_(group["lr"] * pull * (p - began[name]))
        optimizer.step()
        losses.append(loss.item())
    moved = {name: (p.detach() - began[name]).double().norm().item() for name, p in own.items()}
    return {"keys": keys, "losses": losses, "norms": norms, "moved": moved}


CASES = [
    {**ADAMW, "layer_decay": 0.5},
    {**ADAMW, "unfreeze": [{"step": 3, "parameters": ["*.layer.1.*"]}, {"step": 5, "parameters": ["*.layer.0.*", "*.embeddings.*"]}]},
    {**ADAMW, "l2_sp": 20.0},
    {**ADAMW, "layer_decay": 0.7, "unfreeze": [{"step": 4, "parameters": ["*.layer.0.*"]}], "l2_sp": 5.0},
    {**SGD, "layer_decay": 0.7, "unfreeze": [{"step": 4, "parameters": ["*.layer.0.*"]}], "l2_sp": 5.0},
]


def make(name, network):
    directory = HERE / name
    (directory / "transfer.json").write_text(json.dumps([run(network, directory, keys) for keys in CASES], indent=1) + "\n")


if __name__ == "__main__":
    make("bert", BertForSequenceClassification)
    make("vit", ViTForImageClassification)
