"""Makes the tokenizer variants beside itself, with the token ids that transformers gives for them.

Run with transformers 5.23, tokenizers and sentencepiece installed, from anywhere:

    HF_HUB_OFFLINE=1 python make_tokenizers.py

Per variant it writes a directory with the files that AutoTokenizer reads (vocabularies of some hundred tokens, trained
on the sentences below) and expected.json: what AutoTokenizer makes of texts.json. The directories in cases/tokenizer
get an expected.json, too. The key `registered` there is the
tokenizer class that transformers gives to the model_type, and whether it overrides the one that the files name.
"""

import copy
import json
import pathlib
import shutil
import tempfile

import sentencepiece
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer
from transformers.models.auto.tokenization_auto import (
    MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS,
    TOKENIZER_MAPPING_NAMES,
)

HERE = pathlib.Path(__file__).parent
MAX_LENGTH, PAIR_LENGTH = 40, 14

SENTENCES = """
the quick brown fox jumps over the lazy dog . a good movie with a bad end
It's 1984, and we're reading 42 books; they'd cost $3.50 (or 2,000 yen)!
Déjà vu: naïve café owners in Zürich drank crème brûlée. Ångström, façade.
don't you think it'll rain? I've seen the weather, he's wrong and she'd agree.
Москва и привет мир ; 你好 世界 我 喜欢 电影 ; 日本語 の テキスト ; مرحبا بالعالم ; שלום עולם
THE MOVIE WAS GOOD. Good Movie A b, not a BAD one. Words, words, words!
running runner unhappiness internationalization tokenizers tokenization tokens
""".strip().splitlines()

TEXTS = [
    "",
    "The quick brown fox jumps over the lazy dog.",
    "Good Movie A b: THE MOVIE WAS GOOD, wasn't it?",
    "Déjà vu: naïve café owners in Zürich, Ångström and FAÇADE",
    "De\u0301ja\u0300 vu in a cafe\u0301, A\u030angstro\u0308m, e\u0323\u0301",
    "你好世界, 我喜欢 movie 电影。日本語のテキスト",
    "I 😀 movies 👩‍👩‍👧 and 🇩🇪 flags ❤️",
    "  leading and trailing   ",
    "tabs\tand\nnew lines\r\n\r\nand  two   spaces\u00a0nbsp\u3000wide",
    "control\u0000 \u0007bell \u200bzero\u200dwidth \ufeffbom \ufffdreplacement",
    "1984 3.14159 -2,000 ١٢٣ ½ 2² 10:30",
    "مرحبا بالعالم and שלום עולם",
    "internationalization of antidisestablishmentarianism " + "x" * 120,
    "[CLS] hello [SEP] [MASK] world [PAD][UNK] [cls]",
    "<s> hello </s> <mask> world<pad> <unk> <bos>x<eos>",
    "<|endoftext|>a <|im_start|>user\nhi<|im_end|> <|ENDOFTEXT|>",
    "a newtok in newtokens NewTok xnewtoky <extra> [NEW]  <left> x <right>  y",
    "don't you'll WE'RE they'd I've it's ʼn ﬁne ＦＵＬＬ ｗｉｄｔｈ İstanbul ß ẞ",
    "Москва и Привет, мир! Ёлка Й",
    " ".join(["good bad movie"] * 40),
]

PAIRS = [
    ["a good movie", "not a bad one"],
    ["The quick brown fox jumps over the lazy dog", "it's good"],
    ["words", "the quick brown fox jumps over the lazy dog and runs"],
    ["the quick brown fox jumps over it", "the lazy dog with a bad end sees it"],
    ["", "only the second"],
    ["only the first", ""],
]

BERT_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
BERT_NAMES = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]",
              "mask_token": "[MASK]"}
ROBERTA_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def dump(tokenizer):
    """tokenizer.json as an object."""
    return json.loads(tokenizer.to_str())


def wordpiece(lowercase=True):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=230, special_tokens=BERT_SPECIAL, limit_alphabet=130, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES * (1 if lowercase else 2), trainer)
    # Both spellings of some words, so that case and accents show in the ids.
    made = dump(tokenizer)
    vocabulary = made["model"]["vocab"]
    for word in ["Good", "good", "Movie", "movie", "A", "a", "THE", "The", "the", "café", "cafe", "Déjà", "deja", "你", "你好",
                 "##你", "##好", "##世", "newtok", "##é", "##E", "F", "É"]:
        vocabulary.setdefault(word, len(vocabulary))
    made["post_processor"] = json.loads(json.dumps({
        "type": "BertProcessing", "sep": ["[SEP]", vocabulary["[SEP]"]], "cls": ["[CLS]", vocabulary["[CLS]"]]
    }))
    return made


def byte_level(special, size=330, split=None):
    tokenizer = Tokenizer(models.BPE())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split is None)
    tokenizer.pre_tokenizer = level if split is None else pre_tokenizers.Sequence([split, level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return dump(tokenizer)


def spaced_bpe(special, bytes_too=True, size=230):
    """As Llama 2 and Gemma have it: blanks are ▁, other characters fall back to bytes."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, limit_alphabet=70, show_progress=False, max_token_length=8
    )
    words = [word for sentence in SENTENCES for word in ("▁" + sentence.replace(" ", " ▁")).split(" ")]
    tokenizer.train_from_iterator(words, trainer)
    made = dump(tokenizer)
    vocabulary = made["model"]["vocab"]
    if bytes_too:
        for byte in range(256):
            vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    return made


def charsmap():
    """A small precompiled normalisation, as sentencepiece writes it."""
    with tempfile.TemporaryDirectory() as directory:
        rules = pathlib.Path(directory, "rules.tsv")
        pairs = [("ﬁ", "fi"), ("Ｆ", "F"), ("ｗ", "w"), ("\u3000", " "), ("\u00a0", " "), ("\t", " "), ("\n", " "), ("½", "1/2"), ("\u200b", "")]
        points = lambda text: " ".join(f"{ord(character):X}" for character in text)
        rules.write_text("".join(f"{points(source)}\t{points(target)}\n" for source, target in pairs))
        corpus = pathlib.Path(directory, "corpus.txt")
        corpus.write_text("\n".join(SENTENCES))
        sentencepiece.SentencePieceTrainer.train(
            input=str(corpus), model_prefix=f"{directory}/spm", vocab_size=150, normalization_rule_tsv=str(rules),
            character_coverage=0.98, minloglevel=2,
        )
        from transformers.convert_slow_tokenizer import import_protobuf

        proto = import_protobuf().ModelProto()
        proto.ParseFromString(pathlib.Path(directory, "spm.model").read_bytes())
        return proto.normalizer_spec.precompiled_charsmap


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Precompiled(charsmap()), normalizers.Replace("movie", "film"), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=220, special_tokens=ROBERTA_SPECIAL, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    made = dump(tokenizer)
    made["model"]["vocab"] = [[piece, round(score, 4)] for piece, score in made["model"]["vocab"]]
    made["post_processor"] = {
        "type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0], "trim_offsets": True, "add_prefix_space": True
    }
    return made


def template(single, pair, tokens):
    pieces = lambda text: [
        {"Sequence": {"id": name[1], "type_id": int(kind)}} if name[0] == "$" else {"SpecialToken": {"id": name, "type_id": int(kind)}}
        for name, kind in (piece.rsplit(":", 1) for piece in text.split())
    ]
    return {
        "type": "TemplateProcessing", "single": pieces(single), "pair": pieces(pair),
        "special_tokens": {name: {"id": name, "ids": [number], "tokens": [name]} for name, number in tokens.items()},
    }


def added(content, number, **flags):
    """A row of `added_tokens`."""
    token = {"id": number, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return token | flags


def decoder(rows):
    """`added_tokens_decoder` of such rows."""
    return {str(row["id"]): {key: value for key, value in row.items() if key != "id"} for row in rows}


def typed(content, **flags):
    """A token as version 4 writes it into tokenizer_config.json."""
    token = {"__type": "AddedToken", "content": content, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    return token | flags


def changed(made, **parts):
    """A copy of a tokenizer.json with other parts."""
    return copy.deepcopy(made) | parts


def variant(name, model_type, files, config=None):
    directory = HERE / name
    directory.mkdir()
    config = {"model_type": model_type} | (config or {})
    for file, content in (files | {"config.json": config}).items():
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n"
        (directory / file).write_text(text, newline="")
    expect(directory)


def expect(directory):
    """Writes what transformers makes of the texts with the tokenizer in a directory."""
    model_type = json.loads((directory / "config.json").read_text())["model_type"]
    tokenizer = AutoTokenizer.from_pretrained(directory)
    rows = []
    for text, pair, length in [(text, None, MAX_LENGTH) for text in TEXTS] + [(*pair, PAIR_LENGTH) for pair in PAIRS]:
        batch = tokenizer([text], None if pair is None else [pair], truncation=True, max_length=length)
        row = {"ids": batch["input_ids"][0]}
        if any(types := batch.get("token_type_ids", [[]])[0]):
            row["types"] = types
        rows.append(row)
    expected = {
        "registered": {
            "class": TOKENIZER_MAPPING_NAMES.get(model_type),
            "overrides": model_type in MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS,
        },
        "class": type(tokenizer).__name__,
        "model_max_length": tokenizer.model_max_length if tokenizer.model_max_length < 1e20 else None,
        "pad_token_id": tokenizer.pad_token_id,
        "padding_side": tokenizer.padding_side,
        "truncation_side": tokenizer.truncation_side,
        "added": {token.content: number for number, token in sorted(tokenizer.added_tokens_decoder.items())},
    }
    lines = ",\n".join(" " + json.dumps(row, separators=(",", ":")) for row in rows)
    head = json.dumps(expected, ensure_ascii=False, separators=(",", ":"))[:-1]
    (directory / "expected.json").write_text(f'{head},"rows":[\n{lines}\n]}}\n')
    print(f"{directory.name:28} {type(tokenizer).__name__:22} {len(tokenizer)}")


def bert_like():
    made, cased = wordpiece(), wordpiece(lowercase=False)
    plain = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 64, **BERT_NAMES}
    variant("bert", "bert", {"tokenizer.json": made, "tokenizer_config.json": plain})
    variant("bert-cased-by-config", "bert", {
        "tokenizer.json": made, "tokenizer_config.json": plain | {"do_lower_case": False, "tokenizer_class": "BertTokenizerFast"},
    })
    variant("bert-accents-kept", "bert", {"tokenizer.json": made, "tokenizer_config.json": plain | {"strip_accents": False}})
    variant("bert-accents-stripped", "bert", {
        "tokenizer.json": cased,
        "tokenizer_config.json": plain | {"do_lower_case": False, "strip_accents": True, "do_basic_tokenize": True, "never_split": ["x"]},
    })
    variant("bert-chinese-whole", "bert", {
        "tokenizer.json": made, "tokenizer_config.json": plain | {"tokenize_chinese_chars": False},
    })
    rows = [added(token, number) for number, token in enumerate(BERT_SPECIAL)]
    new = [added("newtok", 252, normalized=True, special=False, single_word=True), added("<left>", 9999, lstrip=True),
           added("<right>", 300, rstrip=True, special=False), added("[NEW]", 254, normalized=True, special=False)]
    variant("bert-version-4", "bert", {
        "tokenizer.json": changed(made, added_tokens=rows),
        "tokenizer_config.json": plain | {
            "added_tokens_decoder": decoder(rows + new), "additional_special_tokens": ["<extra>"],
            "mask_token": typed("[MASK]", lstrip=True), "model_max_length": 1000000000000000019884624838656,
            "clean_up_tokenization_spaces": True, "tokenize_chinese_chars": True, "strip_accents": None,
        },
        "special_tokens_map.json": BERT_NAMES | {"additional_special_tokens": ["<other>"], "cls_token": "[SEP]"},
    })
    variant("bert-legacy-files", "bert", {
        "tokenizer.json": changed(made, added_tokens=rows[:4]),
        "tokenizer_config.json": {"do_lower_case": True, "max_len": 32, "extra_special_tokens": ["<extra>"]},
        "special_tokens_map.json": {
            "mask_token": {"content": "[MASK]", "lstrip": True, "rstrip": False, "normalized": False, "single_word": False},
            "sep_token": "[SEP]", "extra_special_tokens": ["<left>", {"content": "<right>", "rstrip": True}],
        },
        "added_tokens.json": {"newtok": 400, "<extra>": 401, "[NEW]": 402},
    })
    variant("bert-vocab-txt", "bert", {
        "vocab.txt": "".join(f"{token}{' ' if token == 'good' else ''}\n" for token in made["model"]["vocab"]),
        "tokenizer_config.json": {"do_lower_case": False, "model_max_length": 128},
    })
    variant("bert-vocab-txt-alone", "bert", {"vocab.txt": "\r\n".join(made["model"]["vocab"])})
    variant("bert-no-config", "bert", {"tokenizer.json": cased})
    variant("bert-left", "bert", {
        "tokenizer.json": made,
        "tokenizer_config.json": plain | {"truncation_side": "left", "padding_side": "left", "model_max_length": 16},
    })
    variant("bert-fixed-by-file", "bert", {
        "tokenizer.json": changed(
            made, truncation={"direction": "Left", "max_length": 6, "strategy": "LongestFirst", "stride": 0},
            padding={"strategy": {"Fixed": 12}, "direction": "Left", "pad_to_multiple_of": 8, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
        ),
        "tokenizer_config.json": plain,
    })
    variant("bert-split-special", "bert", {
        "tokenizer.json": changed(made, added_tokens=rows), "tokenizer_config.json": plain | {"split_special_tokens": True},
    })
    swapped = {"[PAD]": "<pad>", "[UNK]": "<unk>", "[CLS]": "<s>", "[SEP]": "</s>", "[MASK]": "<mask>"}
    renamed = changed(made)
    renamed["model"]["vocab"] = {swapped.get(token, token): number for token, number in made["model"]["vocab"].items()}
    variant("bert-other-names", "bert", {
        "tokenizer.json": renamed,
        "tokenizer_config.json": plain | {key: swapped[token] for key, token in BERT_NAMES.items()},
    })
    variant("bert-backend-class", "bert", {
        "tokenizer.json": changed(
            made, normalizer={"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}]},
            post_processor=None, added_tokens=rows + [added("[NEW]", 253, special=False, normalized=True)],
        ),
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": True, "model_input_names": ["input_ids", "token_type_ids"], **BERT_NAMES},
    })
    variant("bert-unknown-class", "bert", {
        "tokenizer.json": changed(cased, post_processor=template("[CLS]:0 $A:0 [SEP]:0", "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", {"[CLS]": 2, "[SEP]": 3})),
        "tokenizer_config.json": {"tokenizer_class": "HouseTokenizer", "pad_token": "[PAD]"},
    })
    variant("distilbert", "distilbert", {
        "tokenizer.json": made, "tokenizer_config.json": plain | {"tokenizer_class": "DistilBertTokenizer", "do_lower_case": False},
    })
    variant("distilbert-as-bert", "distilbert", {"tokenizer.json": made, "tokenizer_config.json": plain})
    variant("electra", "electra", {
        "tokenizer.json": cased, "tokenizer_config.json": plain | {"tokenizer_class": "ElectraTokenizerFast"},
    })
    variant("mobilebert-names", "bert", {
        "tokenizer.json": made, "tokenizer_config.json": plain | {"tokenizer_class": "MobileBertTokenizer", "strip_accents": False},
    })


def roberta_like():
    made = byte_level(ROBERTA_SPECIAL)
    processor = {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0], "trim_offsets": True, "add_prefix_space": False}
    names = {"bos_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "cls_token": "<s>", "unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"}
    plain = {"tokenizer_class": "RobertaTokenizer", "model_max_length": 512, **names}
    rows = [added(token, number, normalized=True) for number, token in enumerate(ROBERTA_SPECIAL)]
    rows[4] |= {"lstrip": True, "normalized": False}
    full = changed(made, post_processor=processor, added_tokens=rows)
    variant("roberta", "roberta", {"tokenizer.json": full, "tokenizer_config.json": plain})
    variant("roberta-prefix-space", "roberta", {
        "tokenizer.json": full, "tokenizer_config.json": plain | {"add_prefix_space": True, "trim_offsets": False},
    })
    merges = "#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in made["model"]["merges"])
    variant("roberta-vocab-json", "roberta", {
        "vocab.json": made["model"]["vocab"], "merges.txt": merges, "tokenizer_config.json": {"add_prefix_space": True},
    })
    variant("roberta-vocab-json-alone", "roberta", {"vocab.json": made["model"]["vocab"], "merges.txt": merges})
    variant("roberta-version-4", "roberta", {
        "tokenizer.json": full,
        "tokenizer_config.json": plain | {
            "tokenizer_class": "RobertaTokenizerFast", "added_tokens_decoder": decoder(rows), "errors": "replace", "trim_offsets": True,
            "additional_special_tokens": ["<extra>", "<left>"],
        } | {key: typed(token, normalized=True) for key, token in names.items() if key != "mask_token"}
        | {"mask_token": typed("<mask>", lstrip=True)},
    })
    variant("roberta-no-post-processor", "roberta", {
        "tokenizer.json": changed(made, added_tokens=rows, pre_tokenizer={"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}),
        "tokenizer_config.json": plain,
    })
    variant("roberta-class-in-config", "bert", {"tokenizer.json": full}, {"tokenizer_class": "RobertaTokenizer"})

    pieces = unigram()
    plain = {"tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 512, **names}
    variant("xlm-roberta", "xlm-roberta", {"tokenizer.json": pieces, "tokenizer_config.json": plain})
    variant("xlm-roberta-no-prefix", "xlm-roberta", {
        "tokenizer.json": changed(pieces, normalizer=pieces["normalizer"]["normalizers"][0]),
        "tokenizer_config.json": plain | {"tokenizer_class": "XLMRobertaTokenizerFast", "add_prefix_space": False, "mask_token": typed("<mask>", lstrip=True)},
    })
    stale = changed(pieces, normalizer=None)
    stale["model"] |= {"unk_id": 0, "byte_fallback": True}
    variant("xlm-roberta-no-normalizer", "xlm-roberta", {"tokenizer.json": stale})
    variant("unigram-backend", "bert", {
        "tokenizer.json": changed(pieces, post_processor=None), "tokenizer_config.json": {"tokenizer_class": "TokenizersBackend", "truncation_side": "left", **names},
    })


def language_models():
    made = byte_level(["<|endoftext|>"])
    rows = [added("<|endoftext|>", 0)]
    level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
    plain = {"tokenizer_class": "GPT2Tokenizer", "model_max_length": 1024, "add_prefix_space": False, "add_bos_token": True}
    variant("gpt2", "gpt2", {"tokenizer.json": changed(made, post_processor=level, added_tokens=rows), "tokenizer_config.json": plain})
    merges = "#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in made["model"]["merges"])
    variant("gpt2-vocab-json-bos", "gpt2", {
        "vocab.json": made["model"]["vocab"], "merges.txt": merges,
        "tokenizer_config.json": plain | {"add_eos_token": True, "eos_token": "<eos>", "pad_token": "<pad>"},
    })
    variant("gpt2-prefix-space", "gpt2", {
        "tokenizer.json": changed(made, added_tokens=rows),
        "tokenizer_config.json": plain | {"tokenizer_class": "GPT2TokenizerFast", "add_prefix_space": True, "extra_special_tokens": ["<extra>", "<left>"], "pad_token": "<|endoftext|>"},
    })

    split = pre_tokenizers.Split(" ", "merged_with_next")
    chat = byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"], split=split)
    chat["normalizer"] = {"type": "NFKC"}
    rows = [added(token, number) for number, token in enumerate(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])]
    rows.append(added("<extra>", 330, special=False))
    chat = changed(chat, added_tokens=rows, post_processor={"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False})
    plain = {
        "tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": decoder(rows), "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": None, "bos_token": None,
        "add_prefix_space": False, "additional_special_tokens": ["<|im_start|>", "<|im_end|>"], "errors": "replace", "split_special_tokens": False, "model_max_length": 131072, "add_bos_token": False,
    }
    variant("qwen2", "qwen2", {"tokenizer.json": chat, "tokenizer_config.json": plain})
    legacy = changed(chat)
    legacy["model"]["merges"] = [" ".join(merge) for merge in chat["model"]["merges"]]
    variant("qwen2-overridden-class", "qwen2", {
        "tokenizer.json": legacy,
        "tokenizer_config.json": plain | {"tokenizer_class": "PreTrainedTokenizerFast", "extra_special_tokens": {"image_token": "<left>"}, "add_prefix_space": True},
    })
    variant("qwen3-backend", "qwen3", {"tokenizer.json": chat, "tokenizer_config.json": plain | {"tokenizer_class": "PreTrainedTokenizerFast", "padding_side": "left"}})

    special = ["<unk>", "<s>", "</s>"]
    spaced = spaced_bpe(special)
    rows = [added(token, number) for number, token in enumerate(special)]
    bos = template("<s>:0 $A:0", "<s>:0 $A:0 <s>:1 $B:1", {"<s>": 1})
    full = changed(spaced, post_processor=bos, added_tokens=rows)
    plain = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": False, "add_eos_token": True, "bos_token": typed("<s>"), "eos_token": "</s>", "unk_token": "<unk>", "legacy": False, "pad_token": None, "model_max_length": 1e30}
    variant("llama", "llama", {"tokenizer.json": full, "tokenizer_config.json": plain})
    variant("llama-legacy", "llama", {
        "tokenizer.json": full, "tokenizer_config.json": plain | {"tokenizer_class": "LlamaTokenizerFast", "legacy": True, "add_prefix_space": None, "pad_token": "</s>"},
    })
    variant("llama-no-prefix", "llama", {
        "tokenizer.json": changed(spaced, added_tokens=rows), "tokenizer_config.json": plain | {"add_prefix_space": False, "legacy": None, "padding_side": "right"},
    })
    threes = byte_level(["<|begin_of_text|>", "<|end_of_text|>"])
    threes["model"]["ignore_merges"] = True
    variant("llama-byte-level", "llama", {
        "tokenizer.json": changed(
            threes, added_tokens=[added("<|begin_of_text|>", 0), added("<|end_of_text|>", 1)],
            post_processor={"type": "Sequence", "processors": [
                {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
                template("<|begin_of_text|>:0 $A:0", "<|begin_of_text|>:0 $A:0 <|begin_of_text|>:1 $B:1", {"<|begin_of_text|>": 0}),
            ]},
        ),
        "tokenizer_config.json": {"tokenizer_class": "LlamaTokenizer", "bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>", "pad_token": "<|end_of_text|>"},
    })
    variant("llama-backend", "llama", {
        "tokenizer.json": changed(full, normalizer={"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}),
        "tokenizer_config.json": plain | {"tokenizer_class": "TokenizersBackend", "add_prefix_space": False},
    })

    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    rows = [added(token, number) for number, token in enumerate(special)]
    spaced = changed(spaced_bpe(special), added_tokens=rows, post_processor=template("<bos>:0 $A:0", "<bos>:0 $A:0 <bos>:1 $B:1", {"<bos>": 2}))
    plain = {"tokenizer_class": "GemmaTokenizer", "bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>", "add_bos_token": True, "image_token": "<extra>"}
    variant("gemma", "gemma", {"tokenizer.json": spaced, "tokenizer_config.json": plain})
    variant("gemma3", "gemma3_text", {
        "tokenizer.json": changed(spaced, normalizer=None, added_tokens=rows + [added("<extra>", 400)]),
        "tokenizer_config.json": plain | {"tokenizer_class": "GemmaTokenizerFast", "added_tokens_decoder": decoder(rows), "extra_special_tokens": {"boi_token": "<left>"}},
    })
    no_bytes = spaced_bpe(special, bytes_too=False)
    variant("gemma-no-bytes", "gemma", {"tokenizer.json": changed(no_bytes, added_tokens=rows[:4]), "tokenizer_config.json": {}})


def word_level():
    tokenizer = Tokenizer(models.WordLevel(unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(SENTENCES, trainers.WordLevelTrainer(vocab_size=60, special_tokens=["?"], show_progress=False))
    variant("word-level", "bert", {
        "tokenizer.json": dump(tokenizer), "tokenizer_config.json": {"tokenizer_class": "TokenizersBackend", "unk_token": "?", "pad_token": "<pad>"},
    })


if __name__ == "__main__":
    for directory in HERE.iterdir():
        if directory.is_dir():
            shutil.rmtree(directory)
    (HERE / "texts.json").write_text(json.dumps(
        {"max_length": MAX_LENGTH, "pair_length": PAIR_LENGTH, "texts": TEXTS, "pairs": PAIRS}, ensure_ascii=False, indent=1
    ) + "\n")
    bert_like()
    roberta_like()
    language_models()
    word_level()
    for directory in sorted((HERE.parent.parent / "cases" / "tokenizer").iterdir()):
        expect(directory)
