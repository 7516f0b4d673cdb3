// Elements, found and made. Text is always text: nothing here, or elsewhere on the page, parses HTML.

export const by = (id) => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === undefined || value === null) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Brings the children of `parent` to one for each of `items`, made by `create` and brought up to date by `update`.
export function rows(parent, items, create, update) {
  while (parent.children.length > items.length) parent.lastElementChild.remove();
  items.forEach((item, index) => {
    if (index >= parent.children.length) parent.append(create(item));
    update(parent.children[index], item, index);
  });
}

const UNITS = ["", "k", "M", "G", "T"];

export function short(number) {
  let unit = 0;
  while (Math.abs(number) >= (unit ? 999.5 : 9999.5) && unit < UNITS.length - 1) {
    number /= 1000;
    unit += 1;
  }
  return `${unit && Math.abs(number) < 99.95 ? number.toFixed(1) : Math.round(number)}${UNITS[unit]}`;
}

export const percent = (share) => `${Math.round(100 * Math.min(1, Math.max(0, share)))} %`;

export function duration(us) {
  if (us < 1000) return `${Math.round(us)} µs`;
  if (us < 1e6) return `${(us / 1e3).toFixed(us < 1e4 ? 2 : us < 1e5 ? 1 : 0)} ms`;
  const s = us / 1e6;
  if (s < 60) return `${s.toFixed(s < 10 ? 2 : 1)} s`;
  const part = (value) => String(Math.floor(value)).padStart(2, "0");
  return s < 3600 ? `${Math.floor(s / 60)}:${part(s % 60)} min` : `${Math.floor(s / 3600)}:${part((s / 60) % 60)}:${part(s % 60)} h`;
}

export function bytes(number) {
  for (const [unit, size] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]]) {
    if (number >= size) return `${+(number / size).toFixed(1)} ${unit}`;
  }
  return `${number} B`;
}
