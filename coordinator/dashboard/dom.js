// Elements of the page. Texts are set as texts, so that nothing a run says can become markup.

export const at = (id) => document.getElementById(id);

// An element with properties, and children that are elements or texts. `class` and names with a hyphen are attributes.
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class" || name === "for" || name.includes("-")) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Sets a text only where it differs: a text that is set anew is read anew by screen readers.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
