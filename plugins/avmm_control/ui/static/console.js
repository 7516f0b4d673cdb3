// The guest's console: xterm.js, and the keys that a phone has not got.

import { Terminal } from "./vendor/xterm.mjs";
import { FitAddon } from "./vendor/addon-fit.mjs";
import { by, make } from "./dom.js";

// xterm.js makes style elements; the policy lets those through that carry the page's nonce.
const nonce = document.querySelector("script[nonce]").nonce;
const create = document.createElement;
document.createElement = function createElement(name, ...rest) {
  const element = create.call(document, name, ...rest);
  if (name === "style") element.nonce = nonce;
  return element;
};

const KEYS = [["Esc", "\x1b"], ["Tab", "\t"], ["Ctrl-C", "\x03"], ["Ctrl-D", "\x04"], ["↑", "\x1b[A"], ["↓", "\x1b[B"]];
const QUERIES = [
  { final: "c" }, { prefix: ">", final: "c" }, { prefix: "=", final: "c" }, { final: "n" }, { prefix: "?", final: "n" },
  { intermediates: "$", final: "p" }, { prefix: "?", intermediates: "$", final: "p" }, { prefix: ">", final: "q" },
];
const START_AFRESH = "\x18\x1b[0m\r\n"; // out of a sequence that was cut, plain colours, a new line

export class GuestConsole {
  // `type(bytes)` sends what is typed, `resized(columns, rows)` tells the size; `leave()` moves the focus away.
  constructor(type, resized, leave) {
    this.type = type;
    this.resized = resized;
    this.open = false; // whether there is a guest to type to
    this.terminal = new Terminal({
      fontFamily: 'ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace', fontSize: 13, scrollback: 5000, cursorBlink: false,
      screenReaderMode: false, allowProposedApi: false, macOptionIsMeta: true, minimumContrastRatio: 4.5, linkHandler: { activate() {} },
    });
    this.fit = new FitAddon();
    this.terminal.loadAddon(this.fit);
    this.terminal.open(by("terminal"));
    this.terminal.textarea?.setAttribute("aria-label", "The guest's console; F6 leaves it");
    // What a guest writes may colour its text and move its cursor. It may not ask for more: titles, colours of the page, the clipboard.
    for (const command of [0, 1, 2, 4, 8, 10, 11, 12, 52, 104, 110, 111, 112]) this.terminal.parser.registerOscHandler(command, () => true);
    // What a guest asks of its terminal is answered once, by the page that has the focus, and never from what is replayed.
    for (const query of QUERIES) this.terminal.parser.registerCsiHandler(query, () => !this.focused);
    this.terminal.parser.registerDcsHandler({ intermediates: "$", final: "q" }, () => !this.focused);
    this.terminal.onData((text) => this.send(new TextEncoder().encode(text)));
    this.terminal.onBinary((text) => this.send(Uint8Array.from(text, (one) => one.charCodeAt(0))));
    this.terminal.attachCustomKeyEventHandler((event) => {
      if (event.key !== "F6") return true;
      if (event.type === "keydown") leave();
      return false;
    });
    for (const [name, keys] of KEYS) by("keys").append(make("button", { onclick: () => this.press(keys) }, name));
    new ResizeObserver(() => this.resize()).observe(by("terminal"));
    // Of several pages, and the terminal that avmm runs in, the guest is told the size of the one that is typed in.
    by("terminal").addEventListener("focusin", () => this.tellSize());
    this.terminal.onResize(() => this.focused && this.tellSize());
    this.restyle();
  }

  resize() {
    if (by("terminal").clientWidth > 40) this.fit.fit();
  }

  tellSize() {
    this.resized(this.terminal.cols, this.terminal.rows);
  }

  restyle() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    this.terminal.options.theme = {
      background: colour("terminal"), foreground: colour("terminal-ink"), cursor: colour("accent"), cursorAccent: colour("terminal"),
      selectionBackground: `${colour("accent")}55`,
    };
  }

  press(keys) {
    this.send(new TextEncoder().encode(keys));
    this.focus();
  }

  send(bytes) {
    if (this.open) this.type(bytes);
  }

  // Shows what came; `done` is called once that is so. `lost` bytes before it never came.
  write(bytes, lost, done) {
    if (lost > 0) this.note(`${lost} bytes not shown`);
    this.terminal.write(bytes, done);
  }

  note(text) {
    this.terminal.write(`${START_AFRESH}\x1b[2m── ${text} ──\x1b[0m\r\n`);
  }

  focus() {
    this.terminal.focus();
  }

  get focused() {
    return by("terminal").contains(document.activeElement);
  }
}
