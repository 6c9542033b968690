#!/usr/bin/env python3
"""convert.py GGUF DIR: write a llama of llama.cpp's format as a Hugging Face checkpoint, as transformers 5 spells it.

The file has 4-bit values, so the checkpoint has too: each weight is one of 16 levels of its block of 32. They are stored in
bfloat16, the type of the network before it was quantised, and at half the size of float32. Rounding to it moves a weight by 1/23
of the distance between two levels at most, and 1/200 on average (root mean square); quantising moved it by up to a half.
"""
import json
import pathlib
import re
import struct
import sys

import numpy

from gguf import Gguf

# llama.cpp's name of a tensor, and Hugging Face's.
NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
INITIALIZER_RANGE = 0.041666666666666664
CONTROL_TOKEN = 3
VERSION = "5.23.0"


def hf_name(name):
    layer = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name)
    if layer:
        return f"model.layers.{layer[1]}.{NAMES[layer[2]]}.weight"
    return NAMES[name.removesuffix(".weight")] + ".weight"


def unpermuted(weight, heads):
    """[out, in]. llama.cpp turns neighbouring rows of a head of q and k, Hugging Face turns rows half a head apart."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def bfloat16(values):
    """f32 -> u16, rounded to the nearest, ties to even."""
    bits = numpy.ascontiguousarray(values).view(numpy.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")


def write_weights(gguf, path):
    """The safetensors format: the header's length, the header as JSON, then the tensors one after another."""
    heads = {"attn_q": gguf.metadata["llama.attention.head_count"], "attn_k": gguf.metadata["llama.attention.head_count_kv"]}
    named = sorted((hf_name(name), name) for name in gguf.tensors)
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, source in named:
        shape, _, _ = gguf.tensors[source]
        start, end = end, end + 2 * int(numpy.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, source in named:
            values = gguf.tensor(source)
            kind = source.split(".")[-2]
            if kind in heads:
                values = unpermuted(values, heads[kind])
            file.write(bfloat16(values).tobytes())


def special_ids(metadata):
    return {f"{kind}_token_id": metadata[f"tokenizer.ggml.{name}_token_id"]
            for kind, name in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))}


def config(metadata):
    heads, hidden = metadata["llama.attention.head_count"], metadata["llama.embedding_length"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "dtype": "bfloat16",
        "head_dim": hidden // heads,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "initializer_range": INITIALIZER_RANGE,
        "intermediate_size": metadata["llama.feed_forward_length"],
        "max_position_embeddings": metadata["llama.context_length"],
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": heads,
        "num_hidden_layers": metadata["llama.block_count"],
        "num_key_value_heads": metadata["llama.attention.head_count_kv"],
        "pretraining_tp": 1,
        # Stored as f32: seven digits give back the number that was meant.
        "rms_norm_eps": float(f"{metadata['llama.attention.layer_norm_rms_epsilon']:.7g}"),
        "rope_parameters": {"rope_theta": metadata["llama.rope.freq_base"], "rope_type": "default"},
        "tie_word_embeddings": True,
        "transformers_version": VERSION,
        "use_cache": True,
        "vocab_size": len(metadata["tokenizer.ggml.tokens"]),
        **special_ids(metadata),
    }


def control_tokens(metadata):
    """[(id, text)]"""
    kinds = metadata["tokenizer.ggml.token_type"]
    return [(number, text) for number, text in enumerate(metadata["tokenizer.ggml.tokens"]) if kinds[number] == CONTROL_TOKEN]


def tokenizer(metadata):
    """BPE of bytes; each digit is a word of its own."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": number, "content": text, **flags} for number, text in control_tokens(metadata)],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, {**byte_level, "add_prefix_space": False}]},
        "post_processor": None,
        "decoder": {**byte_level, "add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {text: number for number, text in enumerate(metadata["tokenizer.ggml.tokens"])},
            "merges": [merge.split(" ") for merge in metadata["tokenizer.ggml.merges"]],
        },
    }


def tokenizer_config(metadata):
    # GPT2Tokenizer, the class of the original, drops the rule for digits in transformers 5; this class takes tokenizer.json whole.
    tokens = metadata["tokenizer.ggml.tokens"]
    special = {key.removesuffix("_id"): tokens[number] for key, number in special_ids(metadata).items()}
    return {
        "clean_up_tokenization_spaces": False,
        "model_max_length": metadata["llama.context_length"],
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": tokens[metadata["tokenizer.ggml.unknown_token_id"]],
        **special,
    }


def convert(source, target):
    gguf = Gguf(source)
    expected = {"general.architecture": "llama", "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm"}
    for key, value in expected.items():
        if gguf.metadata.get(key) != value:
            sys.exit(f"headstart: {source}: {key} is {gguf.metadata.get(key)!r}, expected {value!r}")
    target.mkdir(parents=True)
    generation = {"_from_model_config": True, **special_ids(gguf.metadata), "transformers_version": VERSION}
    documents = {
        "config.json": config(gguf.metadata),
        "generation_config.json": generation,
        "tokenizer.json": tokenizer(gguf.metadata),
        "tokenizer_config.json": tokenizer_config(gguf.metadata),
    }
    for name, document in documents.items():
        order = name != "tokenizer.json"
        text = json.dumps(document, indent=2, ensure_ascii=False, sort_keys=order)
        (target / name).write_text(text + "\n", encoding="utf-8")
    (target / "chat_template.jinja").write_text(gguf.metadata["tokenizer.chat_template"], encoding="utf-8")
    write_weights(gguf, target / "model.safetensors")


if __name__ == "__main__":
    convert(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
