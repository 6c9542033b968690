#!/usr/bin/env python3
"""Reads `headstart compare --json` of two runs; fails unless the first is ahead of the second at a third of its steps."""
import argparse
import json
import sys


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", required=True)
    parser.add_argument("--points", type=float, required=True, help="percentage points by which it must be ahead")
    arguments = parser.parse_args()

    ahead, behind = json.load(sys.stdin)["runs"]
    step = ahead["total_steps"] // 3
    values = []
    for run in (ahead, behind):
        curve = dict(map(tuple, run["curve"]))
        if step not in curve:
            sys.exit(f"seed {arguments.seed}: {run['name']} was not evaluated at step {step}, only at {sorted(curve)}")
        values.append(100 * curve[step])
    gap = values[0] - values[1]
    print(
        f"seed {arguments.seed}, step {step} of {ahead['total_steps']}: {ahead['name']} {values[0]:.1f} %, "
        f"{behind['name']} {values[1]:.1f} %: {gap:+.1f} points"
    )
    if gap < arguments.points:
        sys.exit(f"seed {arguments.seed}: the gap is below {arguments.points:g} points")


if __name__ == "__main__":
    main()
