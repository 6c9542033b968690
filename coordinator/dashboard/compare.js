// What the head start is worth: this run beside a second one, of the same data or not.

import { make } from "./dom.js";
import { count, metric, number, title } from "./format.js";

// The value at the last step both have evaluated, for each metric that both have.
function common(run, other, name) {
  const [ours, theirs] = [run.column(name, "step"), other.column(name, "step")];
  const their = new Map(theirs[0].map((step, index) => [step, theirs[1][index]]));
  for (let index = ours[0].length - 1; index >= 0; index -= 1) {
    const step = ours[0][index];
    if (their.has(step)) return { step, ours: ours[1][index], theirs: their.get(step) };
  }
  return null;
}

function better({ lower }, one, other) {
  return lower ? one < other : one > other;
}

// How much better one value is than another; of a metric that falls, the lower one, unless both are gains already.
function gain(kind, ours, theirs, lower = kind.lower) {
  const difference = lower ? theirs - ours : ours - theirs;
  const sign = difference > 0 ? "better" : difference < 0 ? "worse" : "the same";
  if (difference === 0) return sign;
  const size = Math.abs(difference);
  return `${kind.fraction ? `${(100 * size).toFixed(1)} points` : number(size)} ${sign}`;
}

// The value that both have reached, and after how many steps each had it; null before both have one.
function reached(run, other, name) {
  const kind = metric(name);
  const [ours, theirs] = [run.column(name, "step"), other.column(name, "step")];
  if (ours[1].length === 0 || theirs[1].length === 0) return null;
  const best = (values) => values.reduce((kept, value) => (better(kind, value, kept) ? value : kept));
  const bests = [best(ours[1]), best(theirs[1])];
  const value = better(kind, bests[0], bests[1]) ? bests[1] : bests[0];
  const first = ([steps, values]) => steps[values.findIndex((one) => one === value || better(kind, one, value))];
  return { value, ours: first(ours), theirs: first(theirs) };
}

// One sentence about the metric that says most, and a table of all.
export function compared(run, other) {
  const names = run.measured().filter((name) => other.measured().includes(name));
  const rows = names.map((name) => [name, common(run, other, name)]).filter(([, found]) => found !== null);
  const first = names.find((name) => metric(name).fraction) ?? names[0];
  return { sentence: sentence(run, other, first), table: rows.length === 0 ? null : table(rows, other.name) };
}

// The mean difference between the two curves up to the last step that both have evaluated: the area between them, as
// `headstart compare` has it. Positive where this run is better; null without two steps in common.
function ahead(run, other, name) {
  const [ours, theirs] = [run.column(name, "step"), other.column(name, "step")];
  const their = new Map(theirs[0].map((step, index) => [step, theirs[1][index]]));
  const both = ours[0].map((step, index) => [step, ours[1][index], their.get(step)]).filter(([, , value]) => value !== undefined);
  if (both.length < 2) return null;
  let area = 0;
  for (let at = 1; at < both.length; at += 1) {
    const [[from, a, b], [to, c, d]] = [both[at - 1], both[at]];
    area += ((to - from) * (a - b + c - d)) / 2;
  }
  const [first, last] = [both[0][0], both.at(-1)[0]];
  const mean = area / (last - first);
  return { mean: metric(name).lower ? -mean : mean, last };
}

function sentence(run, other, name) {
  const quoted = `“${other.name}”`;
  const found = name === undefined ? null : reached(run, other, name);
  if (found === null) return `Beside ${quoted}. The two have no evaluation in common yet.`;
  const kind = metric(name);
  const what = title(name).toLowerCase();
  const area = ahead(run, other, name);
  const than = area?.mean === 0 ? "the same as" : `${gain(kind, area?.mean ?? 0, 0, false)} than`;
  const mean = area === null ? `Beside ${quoted}: ` : `Up to step ${count(area.last)}, ${what} is on average ${than} that of ${quoted}. `;
  const when = found.ours === found.theirs ? `after ${count(found.ours)} steps, as there`
    : `after ${count(found.ours)} steps, there after ${count(found.theirs)}`;
  return `${mean}${kind.value(found.value)} was reached ${when}.`;
}

function table(rows, name) {
  const head = ["metric", "step", "this run", name, "this run is"];
  const body = rows.map(([metricName, { step, ours, theirs }]) => {
    const kind = metric(metricName);
    return [title(metricName), count(step), kind.value(ours), kind.value(theirs), gain(kind, ours, theirs)];
  });
  return make("table", {},
    make("caption", {}, "At the last step that both have evaluated"),
    make("thead", {}, make("tr", {}, ...head.map((text) => make("th", { scope: "col" }, text)))),
    make("tbody", {}, ...body.map((row) => make("tr", {}, ...row.map((text) => make("td", {}, text))))));
}
