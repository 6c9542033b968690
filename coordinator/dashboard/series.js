// The metrics of a run: lines of metrics.jsonl, in order of their steps, thinned out where they are many.

import { known } from "./format.js";

// Lines of each kind at most; half as many are always there of a long run.
const MOST = 8192;
// A line of a file that somebody drops onto the page.
const LONGEST = 1 << 16;

export class Metrics {
  constructor(name = "") {
    this.name = name;
    this.steps = [];
    this.evals = [];
    this.began = null;
  }

  // Takes a line's numbers; a step that is there already is replaced.
  add(line) {
    if (line === null || typeof line !== "object" || !Number.isSafeInteger(line.step) || line.step < 0) return false;
    const rows = "eval_samples" in line ? this.evals : this.steps;
    if (known(line.time)) this.began = this.began === null ? line.time : Math.min(this.began, line.time);
    const last = rows.at(-1);
    if (last === undefined || line.step > last.step) rows.push(line);
    else {
      const index = lowest(rows, line.step);
      rows.splice(index, rows[index].step === line.step ? 1 : 0, line);
    }
    if (rows.length > MOST) thin(rows);
    return true;
  }

  // Takes each line of a text; how many were understood.
  read(text) {
    let taken = 0;
    let from = 0;
    while (from < text.length) {
      const end = text.indexOf("\n", from);
      const to = end < 0 ? text.length : end;
      if (to > from && to - from < LONGEST && this.add(parsed(text.slice(from, to)))) taken += 1;
      from = to + 1;
    }
    return taken;
  }

  // The values of one metric as [x, y], where there are any; x is the step, or minutes since the first line.
  column(name, axis) {
    const rows = name.startsWith("eval_") ? this.evals : this.steps;
    const x = [];
    const y = [];
    for (const row of rows) {
      const place = axis === "time" ? this.minutes(row.time) : row.step;
      if (known(row[name]) && known(place) && (x.length === 0 || place > x.at(-1))) {
        x.push(place);
        y.push(row[name]);
      }
    }
    return [x, y];
  }

  minutes(time) {
    return known(time) && this.began !== null ? (time - this.began) / 60 : NaN;
  }

  // The last x of anything.
  end(axis) {
    const last = (rows) => {
      const row = rows.at(-1);
      return row === undefined ? 0 : axis === "time" ? this.minutes(row.time) || 0 : row.step;
    };
    return Math.max(last(this.steps), last(this.evals));
  }

  // Names of what evaluations measured.
  measured() {
    const names = new Set();
    for (const row of this.evals) {
      for (const name of Object.keys(row)) if (name.startsWith("eval_") && name !== "eval_samples") names.add(name);
    }
    return [...names].sort();
  }

  // Seconds a step lately; NaN before there are two.
  pace() {
    const lately = this.steps.slice(-50).filter((row) => known(row.time));
    if (lately.length < 2) return NaN;
    const [first, last] = [lately[0], lately.at(-1)];
    return last.step > first.step ? Math.max(0, last.time - first.time) / (last.step - first.step) : NaN;
  }
}

function parsed(line) {
  try {
    return JSON.parse(line);
  } catch {
    return null;
  }
}

// The first index whose step is not below `step`.
function lowest(rows, step) {
  let [low, high] = [0, rows.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle].step < step) low = middle + 1;
    else high = middle;
  }
  return low;
}

function thin(rows) {
  let kept = 0;
  for (let index = 0; index < rows.length; index += 1) {
    if (index % 2 === 0 || index === rows.length - 1) rows[kept++] = rows[index];
  }
  rows.length = kept;
}
