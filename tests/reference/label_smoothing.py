"""Makes the stored reference of label smoothing: what transformers' Trainer computes with `label_smoothing_factor`.

Run with transformers 5.23 and torch 2.11 installed, from anywhere:

    OMP_NUM_THREADS=1 python label_smoothing.py

It reads the networks that make_references.py wrote, and writes label_smoothing.json beside each: per factor the loss of
training and of evaluation, both means over the rows, and the gradient of the classifier for the *summed* loss.
"""

import json
import pathlib
import tempfile

import torch
from transformers import BertForSequenceClassification, Trainer, TrainingArguments, ViTForImageClassification

HERE = pathlib.Path(__file__).parent
FACTORS = [0.1, 1.0]


def make(name, network):
    directory = HERE / name
    facts = json.loads((directory / "reference.json").read_text())
    inputs = {key: torch.tensor(value) for key, value in facts["inputs"].items()}
    labels = torch.tensor(facts["labels"])
    rows = [{**{key: value[row] for key, value in inputs.items()}, "labels": labels[row]} for row in range(len(labels))]
    cases = []
    for factor in FACTORS:
        model = network.from_pretrained(directory, num_labels=3)
        with tempfile.TemporaryDirectory() as output:
            arguments = TrainingArguments(output, label_smoothing_factor=factor, report_to=[], use_cpu=True)
            trainer = Trainer(model, arguments, eval_dataset=rows)
            model.train()
            loss = trainer.compute_loss(model, {**inputs, "labels": labels})
            loss.backward()
            eval_loss = trainer.evaluate()["eval_loss"]
        classifier = {key: value.grad * len(labels) for key, value in model.classifier.named_parameters()}
        cases.append({
            "factor": factor,
            "loss": loss.item(),
            "eval_loss": eval_loss,
            "classifier.weight": classifier["weight"].tolist(),
            "classifier.bias": classifier["bias"].tolist(),
        })
    (directory / "label_smoothing.json").write_text(json.dumps(cases) + "\n")


make("bert", BertForSequenceClassification)
make("vit", ViTForImageClassification)
