"""Runs the program that PATH decides."""
import json
import subprocess
import sys


def headstart(folder, *arguments):
    """Gives back what it printed; what it logged is in folder/log, which is named if it fails."""
    with open(folder / "log", "w", encoding="utf-8") as log:
        done = subprocess.run(["headstart", *map(str, arguments)], stdout=subprocess.PIPE, stderr=log, check=False)
    if done.returncode:
        sys.exit(f"headstart: {' '.join(map(str, arguments))} failed: see {folder}/log")
    return done.stdout


def sets(settings):
    """The options that set these keys of a run file."""
    return [part for key, value in settings.items() for part in ("--set", f"{key}={json.dumps(value)}")]
