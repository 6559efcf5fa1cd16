// What every part of the page uses: words for figures, and elements made of text nodes, never of markup.

export const STATES = { in: "in service", out: "out of service", cut: "out, cut off now" };

export const $ = (id) => document.getElementById(id);
export const number = (n) => n.toLocaleString("en");
export const plural = (n, one, many = one + "s") => `${number(n)} ${n === 1 ? one : many}`;
export const byName = (a, b) => a.localeCompare(b, "en", { numeric: true });

export function percent(ratio) {
  if (ratio === null) return "–";
  const value = 100 * ratio;
  return `${(value > 0 && value < 1) || (value > 99 && value < 100) ? value.toFixed(1) : Math.round(value)} %`;
}

export function lasted(s) {
  if (s < 10) return `${Math.max(0, s).toFixed(1)} s`;
  if (s < 120) return `${Math.round(s)} s`;
  return s < 7200 ? `${Math.round(s / 60)} min` : `${Math.round(s / 3600)} h`;
}

export function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== ""));
  return element;
}
export const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
export const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

/** Change a text only if it differs: selections and screen readers stay where they are. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A table; what is not a text becomes one. */
export const table = (columns, rows) =>
  el("table", {},
    el("thead", {}, el("tr", {}, ...columns.map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((value) => el("td", {}, String(value)))))));

export const clock = () => new Date().toLocaleTimeString("en-GB");
