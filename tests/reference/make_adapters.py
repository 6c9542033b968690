"""Makes tests/reference/adapters: adapters as PEFT writes them, for the networks of tests/reference.

Run it with torch, transformers and peft installed. Each directory has PEFT's two files, and those that can be continued
logits.json: input ids, and the logits of the network with the adapter.
"""

import json
import pathlib

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification

HERE = pathlib.Path(__file__).parent


def make(name: str, family: str, **keys):
    torch.manual_seed(7)
    network = AutoModelForSequenceClassification.from_pretrained(HERE / family, dtype=torch.float32)
    network = get_peft_model(network, LoraConfig(task_type="SEQ_CLS", **keys)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    out = HERE / "adapters" / name
    network.peft_config["default"].base_model_name_or_path = family
    network.save_pretrained(out)
    (out / "README.md").unlink(missing_ok=True)
    if keys.get("use_dora"):
        return
    ids = torch.arange(3, 11)[None]
    logits = network(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    text = json.dumps({"input_ids": ids[0].tolist(), "logits": logits[0].tolist()})
    (out / "logits.json").write_text(text + "\n")


make("bert", "bert", r=3, lora_alpha=5, use_rslora=True, target_modules=["query", "output.dense"])
make("layers", "roberta", r=2, lora_alpha=4, target_modules=["key"], layers_to_transform=[1])
make("dora", "bert", r=2, use_dora=True, target_modules=["query"])
