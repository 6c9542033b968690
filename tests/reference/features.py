"""Adds to each stored classifier the features that a probe takes: features.json, a list of numbers for each row of its inputs.

Run with transformers 5.23 and torch 2.11 installed, from anywhere. Of a text, the mean over its tokens of the last hidden state;
of an image, the class token of the last hidden state, which transformers gives normalised.
"""
import json
import pathlib

import torch
from transformers import AutoModel

HERE = pathlib.Path(__file__).parent


def features(directory):
    inputs = json.loads((directory / "reference.json").read_text())["inputs"]
    inputs = {name: torch.tensor(values) for name, values in inputs.items()}
    with torch.no_grad():
        hidden = AutoModel.from_pretrained(directory).eval()(**inputs).last_hidden_state
    if "pixel_values" in inputs:
        return hidden[:, 0]
    mask = inputs["attention_mask"].unsqueeze(-1)
    return (hidden * mask).sum(1) / mask.sum(1)


for network in sorted(HERE.glob("*/gradients.safetensors")):
    (network.parent / "features.json").write_text(json.dumps(features(network.parent).tolist()) + "\n")
