// What the head start is worth: this run beside a second one, of the same data or not.

import { make } from "./dom.js";
import { count, metric, number, percent, title } from "./format.js";

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

function gain(kind, ours, theirs) {
  const difference = kind.lower ? theirs - ours : ours - theirs;
  const sign = difference > 0 ? "better" : difference < 0 ? "worse" : "the same";
  if (difference === 0) return sign;
  const size = Math.abs(difference);
  return `${kind.fraction ? `${(100 * size).toFixed(1)} points` : number(size)} ${sign}`;
}

// How many steps sooner this run reached the best that the second one ever had; null where it has not.
function sooner(run, other, name) {
  const kind = metric(name);
  const [theirSteps, theirs] = other.column(name, "step");
  if (theirs.length === 0) return null;
  const best = theirs.reduce((kept, _, index) => (better(kind, theirs[index], theirs[kept]) ? index : kept), 0);
  const [steps, ours] = run.column(name, "step");
  const reached = ours.findIndex((value) => value === theirs[best] || better(kind, value, theirs[best]));
  return reached < 0 ? null : { value: theirs[best], ours: steps[reached], theirs: theirSteps[best] };
}

// One sentence about the metric that says most, and a table of all.
export function compared(run, other) {
  const names = run.measured().filter((name) => other.measured().includes(name));
  const rows = names.map((name) => [name, common(run, other, name)]).filter(([, found]) => found !== null);
  const first = names.find((name) => metric(name).fraction) ?? names[0];
  return { sentence: sentence(run, other, first), table: rows.length === 0 ? null : table(rows, other.name) };
}

function sentence(run, other, name) {
  const quoted = `“${other.name}”`;
  if (name === undefined) return `Beside ${quoted}. The two have no evaluation in common yet.`;
  const kind = metric(name);
  const found = sooner(run, other, name);
  const what = title(name).toLowerCase();
  if (found === null) return `Beside ${quoted}, whose best ${what} this run has not reached yet.`;
  const value = kind.value(found.value);
  const saved = found.theirs - found.ours;
  const verdict = saved > 0
    ? `${count(saved)} steps sooner${found.theirs > 0 ? `, ${percent(saved / found.theirs)} of the way` : ""}`
    : saved < 0 ? `${count(-saved)} steps later` : "no sooner and no later";
  return `${quoted} had its best ${what}, ${value}, after ${count(found.theirs)} steps; this run after ${count(found.ours)}: ${verdict}.`;
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
