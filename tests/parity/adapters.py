"""Adapters of every family against PEFT: what Headstart writes PEFT opens, what PEFT writes Headstart continues.

For each family: `headstart init` writes a fresh adapter, which PEFT must open without a missing tensor and which must not
change a logit. PEFT then writes an adapter of the same modules with values of its own; Headstart continues it for one step
of SGD with learning rate 1, and PEFT does the same step. All tensors, and the logits, must agree.

    python adapters.py DIRECTORY     headstart must be on PATH
"""

import json
import pathlib
import subprocess
import sys
import warnings

import torch
from families import FAMILIES, ROWS, images, texts
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification

TOLERANCE = 1e-4
# A gradient below this part of the adapter's largest is compared with it instead.
FLOOR = 1e-3


def headstart(directory, *arguments):
    subprocess.run(["headstart", *arguments], cwd=directory, check=True, stdout=subprocess.DEVNULL)


def opened(auto, directory, adapter):
    """The network with an adapter; nothing may be missing or left over."""
    base = auto.from_pretrained(directory / "model", dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*(missing|unexpected).*")
        network = PeftModel.from_pretrained(base, directory / adapter, is_trainable=True)
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    written = set(load_file(directory / adapter / "adapter_model.safetensors"))
    assert len(trained) == len(written), (len(trained), len(written))
    return network.eval()


def check(name, config, directory):
    torch.manual_seed(7)
    is_image = hasattr(config, "image_size")
    auto = AutoModelForImageClassification if is_image else AutoModelForSequenceClassification
    (directory / "model").mkdir(parents=True)
    model = auto.from_config(config)
    with torch.no_grad():
        # Biases and norms too: at their usual first values many mistakes would not show.
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    model.save_pretrained(directory / "model")
    inputs, labels, data = (images if is_image else texts)(directory, config)
    task = "image-classification" if is_image else "sequence-classification"
    (directory / "run.yaml").write_text(
        f"base_model: model\ntask: {task}\ndatasets: [{{path: {data}}}]\noutput_dir: run\nmax_steps: 1\n"
        f"per_device_train_batch_size: {ROWS // 4}\nglobal_batch_size: {ROWS}\noptim: sgd\nlearning_rate: 1\n"
        "lr_scheduler_type: constant\nmax_grad_norm: 0\nweight_decay: 0\nadapter: lora\n"
    )
    headstart(directory, "init", "run.yaml", "fresh", "--set", "lora_r=4")
    plain = auto.from_pretrained(directory / "model", dtype=torch.float32).eval()
    with torch.no_grad():
        difference = float((opened(auto, directory, "fresh")(**inputs).logits - plain(**inputs).logits).abs().max())
    assert difference == 0, f"{name}: a fresh adapter moves logits by {difference:.1e}"

    written = json.loads((directory / "fresh/adapter_config.json").read_text())
    settings = {key: written[key] for key in ("task_type", "target_modules", "modules_to_save")}
    network = get_peft_model(plain, LoraConfig(r=3, lora_alpha=6, use_rslora=True, **settings)).eval()
    generator = torch.Generator().manual_seed(10)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    with torch.no_grad():
        for parameter in trained:
            parameter.add_(0.15 * torch.randn(parameter.shape, generator=generator))
    network.save_pretrained(directory / "start")
    headstart(directory, "train", "run.yaml", "--workers", "2", "--set", "lora_model_dir=start")
    torch.nn.functional.cross_entropy(network(**inputs).logits, labels).backward()
    with torch.no_grad():
        for parameter in trained:
            parameter.sub_(parameter.grad)
    network.save_pretrained(directory / "stepped")

    files = (directory / run / "adapter_model.safetensors" for run in ("start", "run/final", "stepped"))
    before, ours, theirs = map(load_file, files)
    assert ours.keys() == theirs.keys(), ours.keys() ^ theirs.keys()
    largest = max(float((before[key] - theirs[key]).abs().max()) for key in before)
    worst = 0.0
    for key in before:
        scale = max(float((before[key] - theirs[key]).abs().max()), FLOOR * largest)
        rounding = before[key].abs() * 2.0**-23
        difference = float(((ours[key] - theirs[key]).abs() - rounding).clamp(min=0).max() / scale)
        assert difference <= TOLERANCE, f"{name}: the gradient of {key} differs by {difference:.1e} of its largest value"
        worst = max(worst, difference)
    with torch.no_grad():
        ours, theirs = opened(auto, directory, "run/final")(**inputs).logits, network(**inputs).logits
    difference = float((ours - theirs).abs().max() / theirs.abs().max())
    assert difference <= TOLERANCE, f"{name}: logits differ by {difference:.1e}"
    print(f"{name}: adapter gradients within {worst:.1e}, logits within {difference:.1e}")


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    for name, config in FAMILIES.items():
        check(name, config, root / name)


if __name__ == "__main__":
    main()
