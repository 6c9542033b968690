#!/usr/bin/env python3
"""Chat templates against transformers: the templates that TRL and axolotl ship, sixteen conversations each.

- Texts equal those of transformers' `render_jinja_template`, or both refuse the conversation.
- For templates with {% generation %}, trained spans equal transformers' `generation_indices`.
- For other templates of TRL that have a tagged twin (X.jinja and X_training.jinja), spans equal the twin's wherever both
  render the same text, but for white space at a span's edges and the end tokens behind it; else the row is refused by name.
- With a trained byte-level BPE, tokens and mask equal `apply_chat_template(..., return_assistant_tokens_mask=True)`.

    python chat.py PATH/chat_rows [--packages DIRECTORY] [--verbose]
"""
import argparse
import collections
import datetime
import importlib.util
import json
import pathlib
import re
import subprocess
import sys
import tempfile

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

DATE = "2026-03-09"
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city's <centre> & \"surroundings\"",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Stadt, z. B. Köln"},
                "days": {"type": "integer", "enum": [1, 2]}, "share": {"type": "number", "default": 1e-07},
            },
            "required": ["city"],
        },
    },
}


def say(role, content, **more):
    return {"role": role, "content": content, **more}


def call(name, **arguments):
    return {"type": "function", "id": "abcdef123", "function": {"name": name, "arguments": arguments}}


USER, ASSISTANT, SYSTEM, TOOL = "user", "assistant", "system", "tool"
CONVERSATIONS = {
    "one turn": {"messages": [say(USER, "What is two plus two?"), say(ASSISTANT, "Four.")]},
    "system": {"messages": [say(SYSTEM, "Answer briefly."), say(USER, "Name a colour."), say(ASSISTANT, "Blue.")]},
    "many turns": {
        "messages": [
            say(USER, "Hello"), say(ASSISTANT, "Hi! What can I do?"), say(USER, "Count to three."),
            say(ASSISTANT, "One, two, three."), say(USER, "Thanks"), say(ASSISTANT, "Welcome."),
        ],
    },
    "system and turns": {
        "messages": [
            say(SYSTEM, "You are a pirate."), say(USER, "Who are you?"), say(ASSISTANT, "Arr, a pirate."),
            say(USER, "Really?"), say(ASSISTANT, "Aye."),
        ],
    },
    "unicode": {"messages": [say(USER, "Grüße, 世界 🙂 — e\u0301?"), say(ASSISTANT, "Привет, 👩‍👩‍👧 ½ “quoted” \u00a0x")]},
    "white space": {"messages": [say(USER, "  two spaces  \n"), say(ASSISTANT, "\n an answer with a tail \n\n")]},
    "code": {
        "messages": [
            say(USER, "Show {{ braces }} and {% tags %}"),
            say(ASSISTANT, "```python\nx = {'a': \"b\"}\nprint(x['a'] < 3 & 1)\n```"),
        ],
    },
    "empty answer": {"messages": [say(USER, "Say nothing."), say(ASSISTANT, "")]},
    "null content": {
        "messages": [
            say(USER, "Weather in Köln?"), say(ASSISTANT, None, tool_calls=[call("weather", city="Köln", days=2)]),
            say(TOOL, "sunny", name="weather", tool_call_id="abcdef123"), say(ASSISTANT, "It is sunny."),
        ],
        "tools": [WEATHER],
    },
    "content in parts": {
        "messages": [
            say(USER, [{"type": "text", "text": "First part."}, {"type": "text", "text": " Second part."}]),
            say(ASSISTANT, [{"type": "text", "text": "An answer in a part."}]),
        ],
    },
    "tools": {
        "messages": [
            say(SYSTEM, "Use tools."), say(USER, "Weather in Rome?"),
            say(ASSISTANT, "", tool_calls=[call("weather", city="Rome", share=1.0, more=[True, None, 1e16, {"k": "ü"}])]),
            say(TOOL, json.dumps({"sky": "blue", "degrees": 21.5}), name="weather", tool_call_id="abcdef123"),
            say(ASSISTANT, "Blue, 21.5 degrees."), say(USER, "And tomorrow?"), say(ASSISTANT, "I don't know."),
        ],
        "tools": [WEATHER],
    },
    "two calls": {
        "messages": [
            say(USER, "Weather in Rome and Oslo?"),
            say(ASSISTANT, "I look.", tool_calls=[call("weather", city="Rome"), call("weather", city="Oslo")]),
            say(TOOL, "hot", name="weather", tool_call_id="abcdef123"),
            say(TOOL, "cold", name="weather", tool_call_id="abcdef124"),
            say(ASSISTANT, "Hot and cold."),
        ],
        "tools": [WEATHER],
    },
    "thoughts in content": {
        "messages": [
            say(USER, "Is 91 prime?"), say(ASSISTANT, "<think>\n91 = 7 · 13\n</think>\n\nNo."), say(USER, "And 97?"),
            say(ASSISTANT, "<think>\nNo divisor up to 9.\n</think>\n\nYes."),
        ],
    },
    "thoughts beside content": {
        "messages": [
            say(USER, "Is 91 prime?"), say(ASSISTANT, "No.", reasoning_content="91 = 7 · 13"), say(USER, "And 97?"),
            say(ASSISTANT, "Yes.", reasoning_content="No divisor up to 9."),
        ],
    },
    "same role twice": {
        "messages": [
            say(USER, "First."), say(USER, "Second."), say(ASSISTANT, "Both seen."), say(ASSISTANT, "Again."),
        ],
    },
    "assistant first": {"messages": [say(ASSISTANT, "How can I help?"), say(USER, "Sing."), say(ASSISTANT, "La la.")]},
}
assert len(CONVERSATIONS) == 16

# Tokens of which one ends an assistant's turns, the likeliest first.
ENDS = [
    "<|im_end|>", "<|eot_id|>", "<|eot|>", "<end_of_turn>", "<turn|>", "<|return|>", "<|end|>", "<｜end▁of▁sentence｜>",
    "<|END_OF_TURN_TOKEN|>", "[|endofturn|]", "<|eom|>", "<end_of_utterance>", "<|endoftext|>", "</s>",
]
SPECIAL = re.compile(r"<\|[^<>|\s]+\|>|<\|[a-z_]+>|<[a-z_]+\|>|<｜[^<>｜\s]+｜>|</?s>|<bos>|<eos>|</?[a-z]+_of_[a-z]+>|\[\|[a-z]+\|\]")


class FixedDay(datetime.datetime):
    """Midnight of the pinned day, whenever it is asked for."""

    @classmethod
    def now(cls, tz=None):
        return cls.fromisoformat(DATE)


def byte_letters():
    """The letter that stands for each byte in byte-level vocabularies."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in plain}
    others = [byte for byte in range(256) if byte not in letters]
    return {**letters, **{byte: chr(256 + number) for number, byte in enumerate(others)}}


def template_files(source):
    """Checkpoint files for a template: a tokenizer of single bytes and the template's special tokens."""
    end = next((token for token in ENDS if token in source), "</s>")
    special = list(dict.fromkeys(["<s>", "</s>", end, *SPECIAL.findall(source)]))
    vocabulary = {letter: number for number, letter in enumerate(byte_letters().values())}
    added = [
        {"id": 256 + number, "content": token, "special": True, "normalized": False, "single_word": False,
         "lstrip": False, "rstrip": False}
        for number, token in enumerate(special)
    ]
    model = {"type": "BPE", "vocab": vocabulary, "merges": []}
    pieces = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": pieces, "post_processor": None, "decoder": None, "model": model,
    }
    named = {"bos_token": "<s>", "eos_token": end, "tokenizer_class": "PreTrainedTokenizerFast"}
    files = {
        "tokenizer.json": json.dumps(tokenizer), "tokenizer_config.json": json.dumps(named), "chat_template.jinja": source,
    }
    return files, {"bos_token": "<s>", "eos_token": end}


def shipped(packages):
    """Templates by name."""
    roots = {}
    for package, folder in [("trl", "chat_templates"), ("axolotl", "utils/chat_templates/templates")]:
        places = [packages / package] if packages else map(pathlib.Path, importlib.util.find_spec(package).submodule_search_locations)
        roots[package] = next(iter(places)) / folder
    paths = [(package, path) for package, root in roots.items() for path in sorted(root.glob("*.jinja"))]
    found = {f"{package}/{path.stem}": path.read_text(encoding="utf-8") for package, path in paths}
    if len(found) < 50:
        sys.exit(f"chat.py: only {len(found)} templates below {list(map(str, roots.values()))}")
    return found


def reference(source, special, conversation):
    """transformers' text and spans, or None. As in `apply_chat_template`, keys of a message that are null are dropped."""
    messages = [{key: value for key, value in message.items() if value is not None} for message in conversation["messages"]]
    try:
        texts, spans = chat_template_utils.render_jinja_template(
            [messages], tools=conversation.get("tools"), chat_template=source,
            return_assistant_tokens_mask=True, **special,
        )
    except Exception as error:  # Templates raise whatever they like.
        return None, repr(error)
    return texts[0], spans[0]


def merged(spans):
    """Spans in order, without empty ones; those that touch become one."""
    result = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if result and start <= result[-1][1]:
            result[-1][1] = max(end, result[-1][1])
        else:
            result.append([start, end])
    return result


def core(text, spans, ends):
    """Spans without white space at their edges, and without end tokens behind them."""
    result = []
    for start, end in spans:
        while True:
            piece = text[start:end].rstrip()
            token = next((token for token in ends if piece.endswith(token)), None)
            end = start + len(piece) - len(token or "")
            if not token:
                break
        start += len(text[start:end]) - len(text[start:end].lstrip())
        result.append([start, end])
    return merged(result)


def ask(program, cases):
    """The program's answers to cases."""
    lines = "".join(json.dumps(case) + "\n" for case in cases)
    done = subprocess.run([program], input=lines, capture_output=True, text=True, check=True, timeout=600)
    return [json.loads(line) for line in done.stdout.splitlines()]


def check_templates(program, templates, report):
    """Texts and spans of every template and conversation; the counts of what was compared."""
    rows = list(CONVERSATIONS.values())
    cases, specials = [], []
    for source in templates.values():
        files, special = template_files(source)
        specials.append(special)
        base = {"files": files, "format": {}, "rows": rows}
        cases.append({**base, "settings": {"chat_template_date": DATE, "train_on_inputs": True}})
        cases.append({**base, "settings": {"chat_template_date": DATE}})
    answers = ask(program, cases)
    counts = collections.Counter()
    for number, (name, source) in enumerate(templates.items()):
        special = specials[number]
        twin = templates.get(f"{name}_training")
        for (title, conversation), whole, masked in zip(CONVERSATIONS.items(), answers[2 * number], answers[2 * number + 1]):
            where = f"{name}: {title}"
            text, spans = reference(source, special, conversation)
            compare_text(counts, report, where, text, spans, whole)
            if text is None or whole.get("text") != text:
                continue
            if re.search(r"{%-?\s*generation", source):
                compare_tagged(counts, report, where, merged(spans), masked, text)
            elif twin:
                compare_twin(counts, report, where, text, reference(twin, special, conversation), masked)
            else:
                compare_answers(counts, report, where, conversation, text, masked)
    return counts


def compare_text(counts, report, where, text, error, whole):
    if text is None and "refused" in whole:
        counts["texts: both refuse"] += 1
    elif text is not None and whole.get("text") == text:
        counts["texts: equal"] += 1
    else:
        counts["texts: DIFFERENT"] += 1
        report(f"{where}: text\n  transformers: {text!r} {error if text is None else ''}\n  headstart:    {whole.get('text', whole)!r}")


def compare_tagged(counts, report, where, spans, masked, text):
    found = masked.get("spans")
    if found == spans or (not spans and masked.get("refused") in ("no assistant turn", "no trained tokens")):
        counts["tagged: spans equal"] += 1
    else:
        counts["tagged: DIFFERENT" if found is not None else "tagged: refused by name"] += 1
        pieces = [[text[a:b] for a, b in which] for which in (spans, found or [])]
        report(f"{where}: tagged\n  transformers: {pieces[0]!r}\n  headstart:    {pieces[1]!r} {masked.get('refused', '')}")


def without_header(span):
    """A span without the header of its turn, which some twins train although it is part of the generation prompt."""
    return re.sub(r"^(<｜Assistant｜>|<｜tool▁outputs▁end｜>|<\|start\|>assistant)", "", span)


def compare_twin(counts, report, where, text, twin, masked):
    other, spans = twin
    if other != text:
        counts["twin: its text differs"] += 1
    elif "spans" not in masked:
        counts["twin: refused by name"] += 1
        report(f"{where}: refused: {masked['refused']}")
    else:
        expected, found = core(text, spans, ENDS), core(text, masked["spans"], ENDS)
        without = [[end - len(without_header(text[start:end])), end] for start, end in expected]
        if expected == found:
            counts["twin: spans equal"] += 1
        elif core(text, without, ENDS) == found:
            counts["twin: spans equal but for the turn's header, which the twin trains"] += 1
        else:
            counts["twin: DIFFERENT"] += 1
            pieces = [[text[a:b] for a, b in which] for which in (expected, found)]
            report(f"{where}: twin\n  twin:      {pieces[0]!r}\n  headstart: {pieces[1]!r}")


def compare_answers(counts, report, where, conversation, text, masked):
    """Without a twin: spans hold every answer and no other message."""
    if "spans" not in masked:
        counts["no twin: refused by name"] += 1
        report(f"{where}: refused: {masked['refused']}")
        return
    trained = "\0".join(text[start:end] for start, end in masked["spans"])
    said = collections.defaultdict(list)
    for message in conversation["messages"]:
        content = message["content"] or ""
        parts = [content] if isinstance(content, str) else [part["text"] for part in content]
        said[message["role"] == ASSISTANT] += [part.split("</think>")[-1].strip() for part in parts]
    answers = "\0".join(said[True])
    missing = [answer for answer in said[True] if answer not in trained]
    leaked = [other for other in said[False] if other in trained and other not in answers]
    counts["no twin: DIFFERENT" if missing or leaked else "no twin: spans hold the answers and no other message"] += 1
    if missing or leaked:
        report(f"{where}: no twin: missing {missing!r}, leaked {leaked!r} in {trained!r}")


def check_tokens(program, templates, report):
    """Tokens and masks of a trained tokenizer, for the tagged templates."""
    texts = [json.dumps(row, ensure_ascii=False) for row in CONVERSATIONS.values()]
    counts = collections.Counter()
    for name, source in templates.items():
        if not re.search(r"{%-?\s*generation", source):
            continue
        files, special = template_files(source)
        added = [token["content"] for token in json.loads(files["tokenizer.json"])["added_tokens"]]
        tokenizer = Tokenizer(models.BPE())
        # Offsets with their white space, so that both masks mean the same characters.
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        letters = sorted(byte_letters().values())
        tokenizer.train_from_iterator(
            texts, trainers.BpeTrainer(vocab_size=700, initial_alphabet=letters, show_progress=False,
                                       special_tokens=[AddedToken(token, special=True) for token in added]),
        )
        fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
        fast.chat_template = source
        with tempfile.TemporaryDirectory() as folder:
            fast.save_pretrained(folder)
            files = {path.name: path.read_text(encoding="utf-8") for path in pathlib.Path(folder).iterdir()}
        case = {"files": files, "format": {}, "settings": {"chat_template_date": DATE}, "rows": list(CONVERSATIONS.values())}
        for (title, conversation), found in zip(CONVERSATIONS.items(), ask(program, [case])[0]):
            try:
                expected = fast.apply_chat_template(
                    conversation["messages"], tools=conversation.get("tools"), tokenize=True, return_dict=True,
                    return_assistant_tokens_mask=True,
                )
            except Exception:
                continue
            if "refused" in found:
                counts["tokens: refused"] += 1
                continue
            mask = [bool(flag) for flag in expected["assistant_masks"]]
            mask[0] = False
            same_ids = found["input_ids"] == expected["input_ids"]
            same = same_ids and found["trained"] == mask
            counts["tokens: ids and mask equal" if same else "tokens: DIFFERENT"] += 1
            if not same:
                wrong = [i for i, (a, b) in enumerate(zip(found["trained"], mask)) if a != b]
                pieces = [(fast.decode(expected["input_ids"][i]), found["trained"][i]) for i in wrong[:5]]
                report(f"{name}: {title}: tokens: ids equal: {same_ids}, mask differs at {wrong[:5]} {pieces}")
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="the example chat_rows")
    parser.add_argument("--packages", type=pathlib.Path, help="where trl and axolotl were unpacked")
    parser.add_argument("--verbose", action="store_true", help="print each difference")
    parser.add_argument("--only", help="templates whose names hold this")
    options = parser.parse_args()
    chat_template_utils.datetime = FixedDay
    report = print if options.verbose else lambda line: None
    templates = shipped(options.packages)
    if options.only:
        templates = {name: source for name, source in templates.items() if options.only in name}
    counts = check_templates(options.program, templates, report) + check_tokens(options.program, templates, report)
    for what, count in sorted(counts.items()):
        print(f"{count:6}  {what}")
    if any("DIFFERENT" in what for what in counts):
        sys.exit("chat.py: there are differences; --verbose shows them")


if __name__ == "__main__":
    main()
