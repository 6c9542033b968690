// Numbers as people read them.

const NONE = "–";

export const known = (value) => typeof value === "number" && Number.isFinite(value);

// Four digits that count: 0.4321, 12.35, 1.200e-5.
export function number(value) {
  if (!known(value)) return NONE;
  const size = Math.abs(value);
  if (value === 0) return "0";
  if (size < 1e-3 || size >= 1e7) return value.toExponential(2).replace("e-", "e−").replace("e+", "e");
  if (size >= 1000) return count(Math.round(value));
  return value.toFixed(size >= 100 ? 1 : size >= 10 ? 2 : 4);
}

// As short as an axis needs it.
export function tick(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-3) return Number(value.toPrecision(2)).toExponential().replace("e-", "e−");
  if (size >= 1e9) return `${short(value / 1e9)}G`;
  if (size >= 1e6) return `${short(value / 1e6)}M`;
  if (size >= 1e4) return `${short(value / 1e3)}k`;
  return short(value);
}

const short = (value) => String(Number(value.toPrecision(3)));

// 22 700 000, with spaces that do not break.
export const count = (value) => (known(value) ? String(value).replace(/\B(?=(\d{3})+$)/g, "\u202f") : NONE);

export const percent = (value, digits = 0) => (known(value) ? `${(100 * value).toFixed(digits)}\u00a0%` : NONE);

export function bytes(value) {
  if (!known(value)) return NONE;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)}\u00a0${units[unit]}`;
}

// 4.2 s, 3 min 5 s, 2 h 10 min.
export function duration(seconds) {
  if (!known(seconds)) return NONE;
  if (seconds < 10) return `${seconds.toFixed(1)}\u00a0s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole}\u00a0s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}\u00a0min ${whole % 60}\u00a0s`;
  return `${count(Math.floor(whole / 3600))}\u00a0h ${Math.floor((whole % 3600) / 60)}\u00a0min`;
}

// A time on an axis: 1:15 are minutes and seconds, 2:10 h hours and minutes.
export function clock(seconds) {
  const whole = Math.round(seconds);
  const pair = (high, low) => `${high}:${String(low).padStart(2, "0")}`;
  if (whole < 3600) return pair(Math.floor(whole / 60), whole % 60);
  return `${pair(Math.floor(whole / 3600), Math.floor((whole % 3600) / 60))}\u00a0h`;
}

// A time that may be far below a second.
export const brief = (seconds) => (known(seconds) && seconds < 1 ? `${Math.round(1000 * seconds)}\u00a0ms` : duration(seconds));

// What a metric's name says of it. As `headstart compare` judges it.
export function metric(name) {
  const lower = ["loss", "error", "perplexity", "mse", "mae"].some((word) => name.endsWith(word));
  const fraction = ["accuracy", "f1", "precision", "recall"].some((word) => name.includes(word));
  return { lower, fraction, value: (value) => (fraction ? percent(value, 1) : number(value)) };
}

export const title = (name) => {
  const words = name.replace(/^eval_/, "").replaceAll("_", " ");
  return words === "f1" ? "F1" : words.charAt(0).toUpperCase() + words.slice(1);
};
