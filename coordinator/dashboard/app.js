// The page about a run: takes what the stream says, and draws it at most once a frame.

import { Board } from "./charts.js";
import { compared } from "./compare.js";
import { at, make, say } from "./dom.js";
import { Events } from "./events.js";
import { count } from "./format.js";
import { Live } from "./live.js";
import { Overview, words } from "./overview.js";
import { panels } from "./panels.js";
import { Metrics } from "./series.js";
import { Workers } from "./workers.js";
import { yaml } from "./yaml.js";

// Bytes of the largest file that is read here.
const LARGEST = 256 << 20;
// Pause before what a coordinator knows is asked for once more, in milliseconds.
const AGAIN = 1000;
const HINT = at("at").textContent;
const COMPARE_HINT = at("compare-said").textContent;
const LINKS = {
  connecting: "connecting", live: "live", lost: "connection lost, reconnecting", resting: "resting", evicted: "not connected",
  ended: "the run is over",
};

const overview = new Overview();
const events = new Events(at("events"), at("routine"));
const workers = new Workers(at("workers"), at("workers-none"), at("workers-count"));
const board = new Board(at("charts"), {
  zoomed: (zoomed) => { at("whole").disabled = !zoomed; },
  pointed: (text) => say(at("at"), text === "" ? HINT : text),
});

let metrics = new Metrics("this run");
// What the stream has said since its hello, until the lines before that are here.
let fresh = null;
let about = null;
let other = null;
// Whether the second run that the coordinator names was taken away.
let removed = false;
// When it is asked for once more.
let asking = 0;
let status = { state: "loading" };
const reasons = new Map();

// Says something to those who do not see the page.
let spoken = [];
function announce(text) {
  spoken = [...spoken, text].slice(-3);
  at("news").textContent = spoken.join(". ");
  setTimeout(() => { spoken = spoken.filter((said) => said !== text); }, 4000);
}

async function get(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer;
}

// A coordinator greets: its metrics take the place of those that are here. Events have happened, whoever tells of them.
async function greet() {
  const begun = new Metrics("this run");
  fresh = begun;
  try {
    const described = await (await get("/dashboard/run.json")).json();
    begun.read(await (await get("/dashboard/metrics")).text());
    if (fresh !== begun) return;
    fresh = null;
    metrics = begun;
    if (about !== null && about.run?.run_id !== described.run?.run_id) {
      workers.clear();
      events.forget();
    }
    about = described;
    describe();
    if (described.compare !== null) fetchCompared(described.compare.name);
  } catch {
    // If the connection is gone, the next hello begins anew.
    setTimeout(() => { if (fresh === begun && live.state === "live") greet(); }, AGAIN);
  }
  draw();
}

// The second run that the coordinator names, unless there is one, or the user took it away.
async function fetchCompared(name) {
  if (other !== null || removed) return;
  try {
    const second = new Metrics(name);
    second.read(await (await get("/dashboard/compare")).text());
    if (other === null && !removed) compare(second);
  } catch {
    clearTimeout(asking);
    asking = setTimeout(() => { if (live.state === "live") fetchCompared(name); }, AGAIN);
  }
}

function describe() {
  const { run, run_file: runFile, headstart } = about;
  const place = run.output_dir.replace(/\/+$/, "");
  say(at("name"), place.slice(place.lastIndexOf("/") + 1) || run.run_id);
  document.title = `${at("name").textContent} · Headstart`;
  say(at("run-file"), yaml(runFile));
  say(at("version"), `Headstart ${headstart}, run ${run.run_id}.`);
  const facts = [
    ["Run", run.run_id], ["Output", run.output_dir], ["Parameters that train", count(run.trainable_parameters)],
    ["Training rows", count(run.train_rows)], ["Evaluation rows", count(run.eval_rows)],
    ["Steps an epoch", count(run.steps_per_epoch)], ["Coordinators so far", count(run.epoch)],
  ];
  at("facts").replaceChildren(...facts.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
  board.have(panels(runFile, about.metrics));
}

// Shows a second run, or none.
function compare(second) {
  other = second;
  at("remove").disabled = second === null;
  draw();
}

async function readFile(file) {
  const refuse = (why) => {
    say(at("compare-said"), `${file.name}: ${why}`);
    announce(`${file.name}: ${why}`);
  };
  if (file.size > LARGEST) return refuse("is larger than 256 MB");
  const second = new Metrics(file.name.replace(/\.jsonl?$/, ""));
  let text;
  try {
    text = await file.text();
  } catch {
    return refuse("cannot be read");
  }
  if (second.read(text) === 0) return refuse("has no line of a metrics.jsonl");
  announce(`${file.name} is shown beside this run`);
  return compare(second);
}

// Why a worker has left. Each coordinator numbers its workers anew.
function remember(event) {
  if (event?.event === "start") reasons.clear();
  if (event?.event === "join") reasons.delete(event.worker);
  if (event?.event === "leave") reasons.set(event.worker, event.reason ?? "");
}

const handlers = {
  hello: () => {
    events.turn();
    greet();
  },
  status: (data) => {
    if (data.state !== status.state) announce(`The run is ${words(data.state)}`);
    status = data;
  },
  metrics: (lines) => lines.forEach((line) => (fresh ?? metrics).add(line)),
  events: (lines) => {
    const before = events.all.length;
    const news = events.add(lines);
    lines.forEach(remember);
    // The first ones are history.
    if (before > 0) news.forEach(announce);
  },
};

// Whether it has not been connected yet.
let once = true;

const live = new Live({
  on(kind, data) {
    handlers[kind]?.(data);
    draw();
  },
  link(state) {
    const pill = at("link");
    pill.dataset.link = state;
    say(pill, LINKS[state]);
    if (state === "lost") announce("The connection to the coordinator is lost. The page tries again.");
    if (state === "evicted") {
      announce("Another page has taken this one's place. Reload it to see the run again.");
      say(at("detail"), "Too many pages follow this run, so this one has stopped. Reload it to see the run again.");
    }
    if (state === "live" && !once) announce("The page is connected again.");
    once = once && state !== "live";
  },
});

let due = false;
function draw() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    overview.draw(status, metrics, about?.run_file.task === "causal-lm");
    events.draw();
    if (status.state === "loading" || about === null) return;
    workers.draw(status, reasons);
    board.run = metrics;
    board.other = other;
    board.events = events.all;
    board.draw();
    const { sentence, table } = other === null ? { sentence: "", table: null } : compared(metrics, other);
    if (other !== null) say(at("compare-said"), sentence);
    at("compare-table").hidden = table === null;
    at("compare-table").replaceChildren(...(table === null ? [] : [table]));
  });
}

at("whole").addEventListener("click", () => board.zoom(null));
document.querySelectorAll("input[name=axis]").forEach((input) => {
  input.addEventListener("change", () => board.turn(input.value));
});
at("file").addEventListener("change", () => {
  const [file] = at("file").files;
  if (file !== undefined) readFile(file);
});
at("remove").addEventListener("click", () => {
  removed = true;
  at("file").value = "";
  say(at("compare-said"), COMPARE_HINT);
  compare(null);
});
let inside = 0;
const drop = (shown) => { at("drop").hidden = !shown; };
window.addEventListener("dragenter", (event) => {
  inside += 1;
  if (event.dataTransfer?.types.includes("Files")) drop(true);
});
window.addEventListener("dragleave", () => {
  inside = Math.max(0, inside - 1);
  if (inside === 0) drop(false);
});
window.addEventListener("dragover", (event) => event.preventDefault());
window.addEventListener("drop", (event) => {
  event.preventDefault();
  inside = 0;
  drop(false);
  const [file] = event.dataTransfer?.files ?? [];
  if (file !== undefined) readFile(file);
});
