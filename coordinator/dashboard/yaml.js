// A run file as YAML: maps, lists, texts and numbers are all there is.

const PLAIN = /^[A-Za-z_./~][A-Za-z0-9_./~ -]*$/;
const WORDS = new Set(["true", "false", "null", "yes", "no", "on", "off", "~"]);

function scalar(value) {
  if (typeof value !== "string") return JSON.stringify(value);
  const plain = PLAIN.test(value) && !WORDS.has(value.toLowerCase()) && !value.endsWith(" ");
  // JSON's texts are YAML's too.
  return plain ? value : JSON.stringify(value);
}

const empty = (value) => typeof value === "object" && value !== null && Object.keys(value).length === 0;

export function yaml(value, indent = "") {
  const nested = (child) => typeof child === "object" && child !== null && !empty(child);
  if (Array.isArray(value)) {
    return value.map((child) => `${indent}- ${nested(child) ? yaml(child, `${indent}  `).trimStart() : `${scalar(child)}\n`}`).join("");
  }
  return Object.entries(value).map(([name, child]) => {
    const inner = Array.isArray(child) ? indent : `${indent}  `;
    return `${indent}${scalar(name)}:${nested(child) ? `\n${yaml(child, inner)}` : ` ${scalar(child)}\n`}`;
  }).join("");
}
