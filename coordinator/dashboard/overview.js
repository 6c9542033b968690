// The run at a glance: its state, how far it is, numbers, and what holds it up.

import { at, make, say } from "./dom.js";
import { bytes, count, duration, known, metric, number, title } from "./format.js";

const WORDS = {
  loading: "loading", waiting: "waiting for workers", training: "training", evaluating: "evaluating", probing: "probing",
  saving: "saving", finished: "finished", stopped: "stopped", failed: "failed",
};

export const words = (state) => WORDS[state] ?? state;

const ended = (state) => ["finished", "stopped", "failed"].includes(state);

// The numbers of the tiles: name, value, and a line below it.
function tiles(status, metrics, language) {
  const left = status.total_steps - status.step;
  const remaining = ended(status.state) ? 0 : metrics.pace() * left;
  const evals = Object.entries(status.eval ?? {});
  const chosen = evals.find(([name]) => metric(name).fraction) ?? evals[0];
  const ready = status.workers.filter((worker) => worker.ready).length;
  const speed = language ? [status.tokens_per_second, "tokens a second"] : [status.samples_per_second, "samples a second"];
  return [
    ["Loss", number(status.loss), "of the last step"],
    chosen === undefined
      ? ["Evaluation", "–", "none yet"]
      : [title(chosen[0]), metric(chosen[0]).value(chosen[1]), `evaluated after step ${count(status.eval_step)}`],
    ["Speed", known(speed[0]) && speed[0] > 0 ? tidy(speed[0]) : "–", speed[1]],
    ["Time left", left > 0 && known(remaining) ? duration(remaining) : left > 0 ? "–" : duration(0), `${duration(status.elapsed)} so far`],
    ["Workers", `${ready}`, ready === status.workers_total ? "all are ready" : `ready, of ${status.workers_total}`],
    ["On the wire", bytes(status.bytes_up + status.bytes_down), `↑ ${bytes(status.bytes_up)} ↓ ${bytes(status.bytes_down)}`],
  ];
}

// The best evaluation so far, in words.
function best(metrics) {
  const names = metrics.measured();
  const name = names.find((one) => metric(one).fraction) ?? names[0];
  if (name === undefined) return "no evaluation yet";
  const { lower, value } = metric(name);
  const [steps, values] = metrics.column(name, "step");
  const at = values.reduce((kept, _, index) => ((lower ? values[index] < values[kept] : values[index] > values[kept]) ? index : kept), 0);
  return `best ${title(name).toLowerCase()} so far: ${value(values[at])}, after step ${count(steps[at])}`;
}

// What the probe says of the first weights, or why there was none.
const probe = ({ verdict, text }) => (verdict === "" ? `${text[0].toUpperCase()}${text.slice(1)}.` : `Before the first step the probe found ${text}.`);

const tidy = (value) => (value >= 100 ? count(Math.round(value)) : value.toFixed(1));

export class Overview {
  constructor() {
    this.tiles = [];
    this.why = "";
  }

  draw(status, metrics, language) {
    const { state } = status;
    const pill = at("state");
    say(pill, words(state));
    pill.dataset.state = state;
    if (state === "loading") return;
    const part = status.total_steps > 0 ? status.step / status.total_steps : 0;
    at("progress").value = part;
    say(at("progress-text"), `Step ${count(status.step)} of ${count(status.total_steps)}, epoch ${status.epoch.toFixed(2)}`);
    const phase = status.phase === null ? "" : `${words(state)}: ${count(status.phase.done)} of ${count(status.phase.total)}`;
    say(at("detail"), status.detail || phase || best(metrics));
    this.fill(tiles(status, metrics, language));
    const probed = at("probe-said");
    probed.hidden = status.probe === null;
    if (status.probe !== null) say(probed, probe(status.probe));
    const why = ended(state) ? ["The run is over."] : status.why;
    if (why.join("\n") !== this.why) {
      this.why = why.join("\n");
      at("why").replaceChildren(...why.map((sentence) => make("li", {}, sentence)));
    }
  }

  fill(rows) {
    if (this.tiles.length === 0) {
      this.tiles = rows.map(() => [make("dt"), make("dd"), make("dd")]);
      at("tiles").replaceChildren(...this.tiles.map((parts) => make("div", {}, ...parts)));
    }
    rows.forEach((texts, row) => texts.forEach((text, part) => say(this.tiles[row][part], text)));
  }
}
