// Events as vertical lines in a chart.

const COLOURS = { fault: "--bad", join: "--good", start: "--this", commit: "--soft" };
const DASHES = { fault: [4, 3] };

// A plugin for uPlot. `source()` gives the marks as {x, kind}, `colour` the value of a property of the page.
export function marks(source, colour) {
  const draw = (plot) => {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    const ratio = window.devicePixelRatio || 1;
    let before = {};
    for (const { x, kind } of source()) {
      const place = Math.round(plot.valToPos(x, "x", true));
      // Many marks of a kind at one pixel are one.
      if (before[kind] === place || place < bbox.left || place > bbox.left + bbox.width) continue;
      before[kind] = place;
      ctx.beginPath();
      ctx.strokeStyle = colour(COLOURS[kind]);
      ctx.globalAlpha = kind === "commit" ? 0.8 : 0.75;
      ctx.lineWidth = (kind === "commit" ? 1 : 1.5) * ratio;
      ctx.setLineDash((DASHES[kind] ?? []).map((part) => part * ratio));
      const height = kind === "commit" ? 6 * ratio : bbox.height;
      ctx.moveTo(place, bbox.top + bbox.height - height);
      ctx.lineTo(place, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  };
  return { hooks: { drawAxes: draw } };
}

// The marks of a run's events at their steps, or at their minutes.
export function places(events, axis, metrics) {
  const found = [];
  for (const { kind, step, time } of events) {
    if (!(kind in COLOURS)) continue;
    const x = axis === "time" ? metrics.minutes(time) : step;
    if (Number.isFinite(x)) found.push({ x: Math.max(0, x), kind });
  }
  return found;
}

// The sentence of what is marked close to `x`; empty where nothing is.
export function near(events, axis, metrics, x, reach) {
  let best = null;
  for (const entry of events) {
    if (!(entry.kind in COLOURS)) continue;
    const place = axis === "time" ? metrics.minutes(entry.time) : entry.step;
    const distance = Math.abs(place - x);
    const weight = entry.kind === "commit" ? 2 : 1;
    if (distance <= reach && (best === null || distance * weight < best.distance)) {
      best = { distance: distance * weight, text: `step ${entry.step}: ${entry.text}` };
    }
  }
  return best === null ? "" : best.text;
}
