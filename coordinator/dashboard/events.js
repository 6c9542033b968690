// What happens to a run, in sentences: the list of events, and the kinds of marks that charts have.

import { make } from "./dom.js";
import { metric, title } from "./format.js";

// Events that the page keeps, and those that it lists.
const MOST = 2000;
const LISTED = 300;

const who = (event) => `worker ${event.worker}`;
const because = (event) => (event.reason ? `: ${event.reason}` : "");
const verdicts = { "head start": "a head start", small: "a small head start", none: "no head start" };

// For each event its kind (fault, join, start, commit, or routine and plain ones without a mark) and its sentence.
const SENTENCES = {
  start: (e) => ["start", `coordinator ${e.epoch} starts at step ${e.step}`],
  join: (e) => ["join", `${who(e)} joins (${e.name}, ${e.device})`],
  leave: (e) => [e.expected ? "routine" : "fault", `${who(e)} leaves${because(e)}`],
  lease_failed: (e) => ["fault", `${e.worker ? who(e) : "a worker"} did not compute lease ${e.lease}${because(e)}`],
  sent_away: (e) => ["fault", `${who(e)} is sent away${because(e)}`],
  rest: (e) => ["plain", `${who(e)} rests${because(e)}`],
  called_back: (e) => ["plain", `${who(e)} is called back`],
  replica_differs: (e) => ["fault", `the replica of ${who(e)} differs, and is made anew`],
  silent: (e) => ["fault", `${who(e)} is not heard any more`],
  storage_outage: (e) => ["fault", `storage at ${e.host} does not answer${because(e)}`],
  storage_back: (e) => ["plain", `storage at ${e.host} answers again, after ${e.seconds} s`],
  step_restarted: (e) => ["fault", `step ${e.step + 1} begins anew`],
  audit_disputed: (e) => ["fault", `workers ${(e.workers ?? []).join(", ")} differ on ${e.work}`],
  partial_refused: (e) => ["fault", `a partial is refused${because(e)}`],
  shard_skipped: (e) => ["fault", `shard ${e.shard} is left out: its gradient is not finite (${e.rows_total} rows)`],
  evaluation: (e) => ["routine", `evaluation: ${measured(e)}`],
  best: (e) => ["routine", `the weights after step ${e.version} are the best so far`],
  commit: (e) => ["commit", `step ${e.version} is committed`],
  probe: (e) => ["plain", `the probe finds ${verdicts[e.verdict] ?? e.verdict}`],
  probe_left_out: (e) => ["plain", `the probe is left out${because(e)}`],
  stop_requested: (e) => ["plain", `a stop is requested${because(e)}`],
  left_out: (e) => ["plain", `${e.count} events are left out here`],
};

function measured(event) {
  const names = Object.keys(event).filter((name) => name.startsWith("eval_") && name !== "eval_samples");
  return names.map((name) => `${title(name).toLowerCase()} ${metric(name).value(event[name])}`).join(", ");
}

// A kind and a sentence; null for what this page does not know.
export function told(event) {
  const sentence = event === null ? undefined : SENTENCES[event.event];
  return sentence === undefined ? null : sentence(event);
}

export class Events {
  constructor(list, routine) {
    this.list = list;
    this.routine = routine;
    this.all = [];
    this.known = new Set();
    this.term = 0;
    this.dirty = true;
    routine.addEventListener("change", () => this.draw(true));
  }

  // Takes events, each once: a coordinator begins with those that were committed before it. Returns the sentences of the new
  // faults and joins, for those who cannot see the list.
  add(lines) {
    const news = [];
    for (const event of lines) {
      const said = told(event);
      const key = JSON.stringify(event);
      if (said === null || this.known.has(key)) continue;
      this.known.add(key);
      const [kind, text] = said;
      this.all.push({ kind, text, key, step: event.step ?? 0, time: event.time ?? NaN, term: this.term });
      if (["fault", "join", "start"].includes(kind)) news.push(text);
      this.dirty = true;
    }
    if (this.dirty) this.all.sort((one, other) => one.time - other.time || 0);
    if (this.all.length > MOST) this.all.splice(0, this.all.length - MOST).forEach(({ key }) => this.known.delete(key));
    return news;
  }

  // From here on another coordinator speaks; `forget` leaves out what those before it have said.
  turn() {
    this.term += 1;
  }

  forget() {
    this.all = this.all.filter(({ term }) => term === this.term);
    this.known = new Set(this.all.map(({ key }) => key));
    this.dirty = true;
  }

  draw(force = false) {
    if (!this.dirty && !force) return;
    this.dirty = false;
    const all = this.routine.checked;
    const shown = this.all.filter(({ kind }) => all || !["commit", "routine"].includes(kind)).slice(-LISTED);
    const rows = shown.reverse().map(({ kind, text, step, time }) =>
      make("li", { class: kind },
        Number.isFinite(time)
          ? make("time", { dateTime: new Date(1000 * time).toISOString() }, clock(time))
          : make("span"),
        make("span", { class: "step" }, `step ${step}`),
        make("span", { class: "said" }, text)));
    if (rows.length === 0) rows.push(make("li", { class: "soft" }, "nothing has happened yet"));
    this.list.replaceChildren(...rows);
  }
}

const clock = (time) => new Date(1000 * time).toLocaleTimeString("en-GB");
