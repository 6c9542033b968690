// A row for each worker: what it does, how it spends its time, and how old its lease is. Those that have left stay for a while.

import { make, say } from "./dom.js";
import { brief, count, known, percent } from "./format.js";

// Rows of workers that have left: so many, for so long.
const GONE = 16;
const MINUTES = 5;
const PARTS = ["compute", "transfer", "wait"];

class Row {
  constructor(worker) {
    this.name = make("small");
    this.doing = make("p", { class: "doing" });
    this.strip = make("div", { class: "strip", role: "img", "aria-label": "no time is reported yet" });
    this.bars = PARTS.map((part) => make("div", { class: part }));
    this.strip.append(...this.bars);
    this.shares = make("p", { class: "strip-text", "aria-hidden": "true" });
    this.facts = ["Shards", "Per shard", "Lease age"].map((name) => [make("dt", {}, name), make("dd", {}, "–")]);
    this.item = make("li", { class: "worker card" },
      make("div", {}, make("h3", {}, `Worker ${worker}`, this.name), this.doing),
      make("div", {}, this.strip, this.shares),
      make("dl", {}, ...this.facts.map((pair) => make("div", {}, ...pair))));
    this.left = null;
  }

  draw(worker) {
    this.left = null;
    this.item.classList.remove("gone");
    say(this.name, `${worker.name}, ${worker.device}`);
    say(this.doing, worker.activity);
    const time = worker.time;
    PARTS.forEach((part, index) => {
      this.bars[index].style.flexGrow = time === null ? 0 : time[part];
    });
    const text = time === null ? "" : PARTS.map((part) => `${part} ${percent(time[part])}`).join(", ");
    say(this.shares, text);
    if (text !== "") this.strip.setAttribute("aria-label", text);
    const values = [
      count(worker.shards),
      brief(worker.shard_seconds),
      known(worker.lease_age) ? brief(worker.lease_age) : "none",
    ];
    values.forEach((value, index) => say(this.facts[index][1], value));
  }

  // It is here no more.
  leave(reason) {
    this.left = Date.now();
    this.item.classList.add("gone");
    say(this.doing, reason === "" ? "has left" : `has left: ${reason}`);
    say(this.shares, "");
    this.bars.forEach((bar) => { bar.style.flexGrow = 0; });
    this.strip.setAttribute("aria-label", "has left");
    say(this.facts[2][1], "none");
  }
}

export class Workers {
  constructor(list, none, total) {
    Object.assign(this, { list, none, total });
    this.rows = new Map();
  }

  // `reasons` says of workers why they have left.
  draw(status, reasons) {
    const here = new Set(status.workers.map(({ worker }) => worker));
    for (const worker of status.workers) {
      if (!this.rows.has(worker.worker)) {
        const row = new Row(worker.worker);
        this.rows.set(worker.worker, row);
        this.list.append(row.item);
      }
      this.rows.get(worker.worker).draw(worker);
    }
    const over = ["finished", "stopped", "failed"].includes(status.state);
    for (const [id, row] of this.rows) {
      if (!here.has(id) && (row.left === null || reasons.has(id))) {
        const since = row.left;
        row.leave(reasons.get(id) ?? "");
        row.left = since ?? row.left;
      }
    }
    const gone = [...this.rows].filter(([, row]) => row.left !== null).sort(([, one], [, other]) => other.left - one.left);
    gone.forEach(([id, row], index) => {
      if (index >= GONE || (!over && Date.now() - row.left > MINUTES * 60_000)) this.drop(id, row);
    });
    this.none.hidden = this.rows.size > 0;
    const beyond = status.workers_total - status.workers.length;
    const text = `${status.workers_total} here${beyond > 0 ? `, ${beyond} of them not shown` : ""}`;
    say(this.total, text);
  }

  drop(id, row) {
    row.item.remove();
    this.rows.delete(id);
  }

  clear() {
    for (const [id, row] of this.rows) this.drop(id, row);
  }
}
