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

// The mean height of a curve between two steps: straight lines between its values, as `headstart compare` has it.
function mean([steps, values], from, to) {
  const height = (step) => {
    const after = steps.findIndex((one) => one >= step);
    if (steps[after] === step || after === 0) return values[after];
    const part = (step - steps[after - 1]) / (steps[after] - steps[after - 1]);
    return values[after - 1] + part * (values[after] - values[after - 1]);
  };
  const at = [from, ...steps.filter((step) => step > from && step < to), to];
  let area = 0;
  for (let index = 1; index < at.length; index += 1) {
    area += ((at[index] - at[index - 1]) * (height(at[index]) + height(at[index - 1]))) / 2;
  }
  return area / (to - from);
}

// How much higher this run's curve is on average, over the steps that both have evaluated or passed. Positive where this run is
// better; null where the two have no steps in common.
function ahead(run, other, name) {
  const [ours, theirs] = [run.column(name, "step"), other.column(name, "step")];
  if (ours[0].length === 0 || theirs[0].length === 0) return null;
  const [from, to] = [Math.max(ours[0][0], theirs[0][0]), Math.min(ours[0].at(-1), theirs[0].at(-1))];
  if (to <= from) return null;
  const difference = mean(ours, from, to) - mean(theirs, from, to);
  return { mean: metric(name).lower ? -difference : difference, last: to };
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
