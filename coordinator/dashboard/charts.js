// Charts of a run's metrics by uPlot: a shared horizontal axis, a shared cursor, a readout, and a table of the same numbers.

import { make } from "./dom.js";
import { clock, duration, known, tick } from "./format.js";
import { marks, near, places } from "./marks.js";

const HEIGHT = 190;
// Rows of a chart's table.
const ROWS = 12;
const LINES = ["--this", "--other", "--third"];

export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// What all charts share: the axis, the part of it that is shown, and the place that is pointed at.
export class Board {
  constructor(home, told) {
    this.home = home;
    this.told = told;
    this.axis = "step";
    this.zoomed = null;
    this.run = null;
    this.other = null;
    this.events = [];
    this.panels = [];
    this.key = "";
    new ResizeObserver(() => this.panels.forEach((panel) => panel.resize())).observe(home);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.panels.forEach((panel) => panel.recolour()));
  }

  // Makes the charts, unless they are there.
  have(specs) {
    const key = JSON.stringify(specs);
    if (key === this.key) return;
    this.key = key;
    this.panels.forEach((panel) => panel.destroy());
    this.panels = specs.map((spec) => new Panel(spec, this));
    this.home.replaceChildren(...this.panels.map((panel) => panel.figure));
  }

  // The part of the axis that is shown.
  view() {
    if (this.zoomed !== null) return this.zoomed;
    const last = Math.max(this.run?.end(this.axis) ?? 0, this.other?.end(this.axis) ?? 0);
    return [0, last > 0 ? last : 1];
  }

  zoom(range) {
    this.zoomed = range;
    this.told.zoomed(range !== null);
    this.draw();
  }

  turn(axis) {
    this.axis = axis;
    this.zoom(null);
  }

  draw() {
    this.places = this.run === null ? [] : places(this.events, this.axis, this.run);
    this.panels.forEach((panel) => panel.draw());
  }

  // A place in words, with the event that is marked there; empty for none.
  point(x) {
    if (x === null) return this.told.pointed("");
    const [from, to] = this.view();
    const where = this.axis === "time" ? `after ${duration(60 * x)}` : `step ${Math.round(x)}`;
    const event = near(this.events, this.axis, this.run, x, (to - from) / 80);
    return this.told.pointed(event === "" ? where : `${where} · ${event}`);
  }
}

class Panel {
  constructor(spec, board) {
    this.spec = spec;
    this.board = board;
    this.plot = null;
    this.data = [[]];
    this.inside = false;
    this.readout = make("p", { class: "readout" });
    this.canvas = make("div", { class: "canvas", role: "img", "aria-label": `${spec.title}: no values yet` },
      make("p", { class: "empty" }, "no values yet"));
    this.rows = make("div", { class: "scroll" });
    this.details = make("details", {}, make("summary", {}, "Numbers"), this.rows);
    this.details.addEventListener("toggle", () => this.tabulate());
    this.figure = make("figure", { class: "chart" },
      make("figcaption", {}, make("h3", {}, spec.title), this.readout), this.canvas, this.details);
  }

  // The names of the lines: those of this run, then the second run's first.
  names() {
    const { lines, names } = this.spec;
    const own = names ?? ["this run"];
    return this.board.other === null || lines.length > 1 ? own : [own[0], this.board.other.name];
  }

  draw() {
    const { run, other, axis } = this.board;
    if (run === null) return;
    const tables = this.spec.lines.map((line) => run.column(line, axis));
    if (other !== null && tables.length === 1) tables.push(other.column(this.spec.lines[0], axis));
    const filled = tables.some(([x]) => x.length > 0);
    this.data = filled ? uPlot.join(tables) : [[], ...tables.map(() => [])];
    if (!filled) return;
    if (this.plot !== null && this.plot.series.length !== this.data.length) this.destroy();
    if (this.plot === null) this.create();
    else this.plot.setData(this.data);
    this.read(this.plot.cursor.idx);
    this.describe();
    if (this.details.open) this.tabulate();
  }

  create() {
    this.canvas.replaceChildren();
    this.plot = new uPlot(this.options(), this.data, this.canvas);
    this.plot.over.addEventListener("pointerenter", () => { this.inside = true; });
    this.plot.over.addEventListener("pointerleave", () => {
      this.inside = false;
      this.board.point(null);
    });
    this.plot.over.addEventListener("pointermove", (event) => {
      if (event.pointerType !== "touch") return;
      const box = this.plot.over.getBoundingClientRect();
      this.plot.setCursor({ left: event.clientX - box.left, top: event.clientY - box.top }, true, true);
    });
  }

  options() {
    const { spec, board } = this;
    const axis = {
      stroke: () => colour("--soft"),
      grid: { stroke: () => colour("--grid"), width: 1 },
      ticks: { show: false },
      font: "12px system-ui, sans-serif",
    };
    const line = (index) => ({
      stroke: () => colour(LINES[index === 1 && spec.lines.length > 1 ? 2 : index]),
      width: 1.8,
      dash: index === 1 && spec.lines.length === 1 ? [6, 4] : [],
      spanGaps: true,
      points: spec.lines[0].startsWith("eval_") ? { show: true, size: 6, fill: () => colour("--card") } : {},
    });
    return {
      width: Math.max(this.canvas.clientWidth, 100),
      height: HEIGHT,
      legend: { show: false },
      padding: [8, 10, 0, 0],
      cursor: {
        sync: { key: "charts", scales: ["x", null], filters: { pub: (type) => type === "mousemove" || type === "mouseleave" } },
        drag: { x: true, y: false, setScale: false },
        bind: { dblclick: () => () => board.zoom(null) },
        y: false,
        points: { size: 7 },
      },
      scales: {
        x: { time: false, range: () => board.view() },
        y: { range: (_, low, high) => range(low, high, spec.zero === true) },
      },
      axes: [
        { ...axis, size: 28, values: (_, values) => values.map((value) => ticks(value, board.axis)) },
        { ...axis, size: 54, values: (_, values) => values.map(spec.tick) },
      ],
      series: [{}, ...this.data.slice(1).map((_, index) => line(index))],
      hooks: { setCursor: [(plot) => this.read(plot.cursor.idx)], setSelect: [(plot) => this.select(plot)] },
      plugins: [marks(() => board.places ?? [], colour)],
    };
  }

  // A part of the axis is dragged over.
  select(plot) {
    const { left, width } = plot.select;
    if (width < 4) return;
    const range = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.board.zoom(range);
  }

  // Shows the values at an index or, where nothing is pointed at, the last ones.
  read(index) {
    const pointed = known(index) && this.plot !== null && this.plot.cursor.left >= 0;
    const names = this.names();
    const parts = this.data.slice(1).map((values, line) => {
      const value = lastKnown(values, pointed ? index : values.length - 1);
      const style = this.spec.lines.length > 1 && line === 1 ? "l2" : `l${line}`;
      return make("span", { class: style }, make("i"), `${this.spec.value(value)} ${names[line] ?? ""}`);
    });
    this.readout.replaceChildren(...parts);
    if (this.inside) this.board.point(pointed ? this.data[0][index] : null);
  }

  // The chart for those who do not see it.
  describe() {
    const at = (x) => (this.board.axis === "time" ? `${duration(60 * x)} after the start` : `step ${tick(x)}`);
    const parts = this.data.slice(1).map((values, line) => {
      const places = values.map((value, index) => (known(value) ? index : -1)).filter((index) => index >= 0);
      if (places.length === 0) return `${this.names()[line]}: no values`;
      const least = places.reduce((best, index) => (values[index] < values[best] ? index : best));
      const most = places.reduce((best, index) => (values[index] > values[best] ? index : best));
      const [first, last] = [places[0], places.at(-1)];
      const say = (index) => `${this.spec.value(values[index])} at ${at(this.data[0][index])}`;
      return `${this.names()[line]}: from ${say(first)} to ${say(last)}, lowest ${say(least)}, highest ${say(most)}`;
    });
    this.canvas.setAttribute("aria-label", `${this.spec.title}. ${parts.join(". ")}.`);
    this.canvas.dataset.points = this.plot.data[0].length;
  }

  tabulate() {
    if (!this.details.open) return;
    const [xs] = this.data;
    const step = Math.max(1, Math.ceil(xs.length / ROWS));
    const chosen = xs.map((_, index) => index).filter((index) => (xs.length - 1 - index) % step === 0);
    const time = this.board.axis === "time";
    const head = [time ? "time" : "step", ...this.names().slice(0, this.data.length - 1)];
    const cells = (index) => [time ? clock(60 * xs[index]) : tick(xs[index]), ...this.data.slice(1).map((values) => this.spec.value(values[index]))];
    this.rows.replaceChildren(make("table", {},
      make("caption", {}, this.spec.title),
      make("thead", {}, make("tr", {}, ...head.map((text) => make("th", { scope: "col" }, text)))),
      make("tbody", {}, ...chosen.map((index) => make("tr", {}, ...cells(index).map((text) => make("td", {}, text)))))));
  }

  resize() {
    const width = this.canvas.clientWidth;
    if (this.plot !== null && width > 0 && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
  }

  recolour() {
    if (this.plot !== null) this.plot.redraw(false);
  }

  destroy() {
    if (this.plot !== null) this.plot.destroy();
    this.plot = null;
  }
}

// The vertical range: all values, with a margin; from zero on where that has a meaning.
function range(low, high, zero) {
  if (!known(low) || !known(high)) return [0, 1];
  if (zero && low >= 0) return [0, high > 0 ? 1.08 * high : 1];
  const margin = high > low ? 0.08 * (high - low) : Math.abs(high) * 0.1 || 1;
  return [low - margin, high + margin];
}

function ticks(value, axis) {
  if (axis === "time") return clock(60 * value);
  return Number.isInteger(value) ? tick(value) : "";
}

// Of two runs not every step has a value of both.
function lastKnown(values, index) {
  for (let at = index; at >= 0; at -= 1) if (known(values[at])) return values[at];
  return NaN;
}
