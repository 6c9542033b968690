// Which charts a run has.

import { bytes, metric, number, percent, tick, title } from "./format.js";

const short = (value) => percent(value).replace("\u00a0", "");

// Each panel: its lines (names of metrics), and how values and ticks of its vertical axis are written.
export function panels(runFile, metrics) {
  const language = runFile.task === "causal-lm";
  const speed = language ? "tokens_per_second" : "samples_per_second";
  const evaluations = metrics.map((name) => {
    const kind = metric(name);
    return {
      title: `Evaluation: ${title(name).toLowerCase().replace("f1", "F1")}`,
      lines: [`eval_${name}`],
      value: kind.value,
      tick: kind.fraction ? short : tick,
    };
  });
  return [
    { title: "Training loss", lines: ["loss"], value: number, tick },
    ...evaluations,
    { title: language ? "Tokens a second" : "Samples a second", lines: [speed], value: number, tick, zero: true },
    { title: "Learning rate", lines: ["learning_rate"], value: number, tick, zero: true },
    { title: "Gradient norm, before clipping", lines: ["grad_norm"], value: number, tick, zero: true },
    {
      title: "Bytes on the wire, each step",
      lines: ["bytes_up", "bytes_down"],
      names: ["up", "down"],
      value: bytes,
      tick: (value) => bytes(value).replace(".0", ""),
      zero: true,
    },
  ];
}
