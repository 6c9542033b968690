"""Every family of classifiers against transformers: one step of SGD with learning rate 1 and no clipping, by two workers.

A network of each family begins from random weights that transformers drew. What the step changed is the mean gradient; it
is compared with transformers' for each tensor, at the tensor's own scale. Then transformers opens final/, and its logits
are compared with those of its own network after the same step.

    python families.py DIRECTORY     headstart must be on PATH
"""

import json
import pathlib
import subprocess
import sys

import torch
from PIL import Image
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    BertConfig,
    DeiTConfig,
    DistilBertConfig,
    ElectraConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
    ViTConfig,
    ViTImageProcessor,
    XLMRobertaConfig,
)

TOLERANCE = 1e-4
# A gradient below this part of the network's largest is compared with it instead: a key's bias has a gradient of zero.
FLOOR = 1e-3
WORDS = [f"w{number}" for number in range(90)]
ROWS = 8

SIZES = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96, "num_labels": 4}
TEXT = {"vocab_size": 96, "max_position_embeddings": 40, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
IMAGE = {"image_size": 16, "patch_size": 4, "num_channels": 3}
FAMILIES = {
    "bert": BertConfig(**SIZES, **TEXT),
    "distilbert": DistilBertConfig(
        vocab_size=96, max_position_embeddings=40, dim=48, n_layers=3, n_heads=4, hidden_dim=96, dropout=0.0,
        attention_dropout=0.0, seq_classif_dropout=0.0, num_labels=4,
    ),
    "roberta": RobertaConfig(**SIZES, **TEXT, type_vocab_size=1),
    "xlm-roberta": XLMRobertaConfig(**SIZES, **TEXT, type_vocab_size=1),
    "electra": ElectraConfig(**SIZES, **TEXT, embedding_size=24),
    "vit": ViTConfig(**SIZES, **IMAGE),
    "deit": DeiTConfig(**SIZES, **IMAGE, architectures=["DeiTForImageClassification"]),
}


def texts(directory, config):
    """Rows of two to thirty words, and a tokenizer with a token for each word."""
    special = ["<s>", "<pad>", "</s>", "<unk>"] if config.pad_token_id == 1 else ["<pad>", "<s>", "</s>", "<unk>"]
    vocabulary = {token: number for number, token in enumerate(special + WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")
    tokenizer.save_pretrained(directory / "model")
    generator = torch.Generator().manual_seed(8)
    rows = []
    for row in range(ROWS):
        length = int(torch.randint(2, 31, (1,), generator=generator))
        words = torch.randint(len(WORDS), (length,), generator=generator)
        rows.append({"text": " ".join(WORDS[word] for word in words), "label": row % 4})
    (directory / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    inputs = tokenizer([row["text"] for row in rows], padding=True, return_tensors="pt")
    inputs.pop("token_type_ids", None)
    return dict(inputs), torch.tensor([row["label"] for row in rows]), "train.jsonl"


def images(directory, config):
    """Noise in the size that the network takes, in one folder per class."""
    processor = ViTImageProcessor(size={"height": config.image_size, "width": config.image_size})
    processor.save_pretrained(directory / "model")
    generator = torch.Generator().manual_seed(9)
    pictures, labels = [], []
    for row in range(ROWS):
        label = row % 4
        pixels = torch.randint(256, (config.image_size, config.image_size, 3), generator=generator, dtype=torch.uint8)
        pictures.append(Image.fromarray(pixels.numpy()))
        labels.append(label)
        folder = directory / "train" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        pictures[-1].save(folder / f"{row}.png")
    return dict(processor(pictures, return_tensors="pt")), torch.tensor(labels), "train"


def check(name, config, directory):
    torch.manual_seed(7)
    is_image = hasattr(config, "image_size")
    auto = AutoModelForImageClassification if is_image else AutoModelForSequenceClassification
    model = auto.from_config(config)
    generator = torch.Generator().manual_seed(10)
    with torch.no_grad():
        # Biases and norms too: at their usual first values many mistakes would not show.
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape, generator=generator))
    (directory / "model").mkdir(parents=True)
    model.save_pretrained(directory / "model")
    inputs, labels, data = (images if is_image else texts)(directory, config)
    task = "image-classification" if is_image else "sequence-classification"
    (directory / "run.yaml").write_text(
        f"base_model: model\ntask: {task}\ndatasets: [{{path: {data}}}]\noutput_dir: run\nmax_steps: 1\n"
        f"per_device_train_batch_size: {ROWS // 4}\nglobal_batch_size: {ROWS}\noptim: sgd\nlearning_rate: 1\n"
        "lr_scheduler_type: constant\nmax_grad_norm: 0\nweight_decay: 0\n"
    )
    subprocess.run(
        ["headstart", "train", "run.yaml", "--workers", "2"], cwd=directory, check=True, stdout=subprocess.DEVNULL
    )
    loss = torch.nn.functional.cross_entropy(model(**inputs).logits, labels)
    worst = compare_step(name, directory, model, loss)
    opened = auto.from_pretrained(directory / "run/final", dtype=torch.float32).eval()
    with torch.no_grad():
        ours, theirs = opened(**inputs).logits, model.eval()(**inputs).logits
    difference = float((ours - theirs).abs().max() / theirs.abs().max())
    assert difference <= TOLERANCE, f"{name}: logits differ by {difference:.1e}"
    print(f"{name}: gradients within {worst:.1e}, logits within {difference:.1e}")


def compare_step(name, directory, model, loss):
    """Takes the same step with torch, and compares the weights of run/final. The largest difference of a gradient, as a part
    of its tensor's largest."""
    before, after = load_file(directory / "model/model.safetensors"), load_file(directory / "run/final/model.safetensors")
    assert before.keys() == after.keys(), before.keys() ^ after.keys()
    loss.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.sub_(parameter.grad)
    stepped = directory / "stepped"
    model.save_pretrained(stepped)
    expected = load_file(stepped / "model.safetensors")
    gradients = {key: before[key] - expected[key] for key in before}
    largest = max(gradient.abs().max() for gradient in gradients.values())
    worst = 0.0
    for key, gradient in gradients.items():
        scale = max(gradient.abs().max(), FLOOR * largest)
        # Either step rounds a weight of size w by up to w × 2⁻²⁴.
        rounding = before[key].abs() * 2.0**-23
        difference = float(((after[key] - expected[key]).abs() - rounding).clamp(min=0).max() / scale)
        assert difference <= TOLERANCE, f"{name}: the gradient of {key} differs by {difference:.1e} of its largest value"
        worst = max(worst, difference)
    return worst


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    for name, config in FAMILIES.items():
        check(name, config, root / name)


if __name__ == "__main__":
    main()
