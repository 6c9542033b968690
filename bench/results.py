"""The sections of bench/RESULTS.md: each benchmark replaces its own and leaves the others."""
import datetime
import os
import pathlib
import platform

FILE = pathlib.Path("bench/RESULTS.md")
TITLE = "# Speed"
# In the order of the file.
SECTIONS = ["speed", "net", "formats", "scale", "transfer", "treatments", "watched"]


def machine():
    """Processor, number of cores and kernel, in words."""
    cpu = next(line.split(":")[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8") if "model name" in line)
    return f"{cpu}, {os.cpu_count()} cores, Linux {'.'.join(platform.release().split('.')[:2])}"


def written_by(command):
    """The sentence below a section's heading."""
    return f"Written by `{command}` on {datetime.date.today()}: {machine()}."


def marks(section):
    return f"<!-- {section}: begin -->", f"<!-- {section}: end -->"


def read():
    """The text of each section that the file has, by name."""
    text = FILE.read_text(encoding="utf-8") if FILE.exists() else ""
    found = {}
    for section in SECTIONS:
        begin, end = marks(section)
        if begin in text and end in text:
            found[section] = text.split(begin)[1].split(end)[0].strip()
    return found


def replace(section, text):
    """Puts `text` in the place of a section of the file."""
    sections = {**read(), section: text.strip()}
    parts = [TITLE]
    for name in SECTIONS:
        if name in sections:
            begin, end = marks(name)
            parts.append(f"{begin}\n{sections[name]}\n{end}")
    FILE.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def table(header, rows):
    """A table in Markdown."""
    lines = ["| " + " | ".join(str(cell) for cell in line) + " |" for line in [header, *rows]]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])
