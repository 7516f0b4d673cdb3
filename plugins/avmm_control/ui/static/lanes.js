// The picture of the vCPUs: lanes, arrows, what the pointer or the keyboard points at, and how much time is shown.

import { by, duration, make, percent, rows, say, short } from "./dom.js";
import { HEIGHTS, Strip, drawArrow } from "./strip.js";
import { ACTIONS, KICKS, STATES, who, WORDS } from "./words.js";

const WINDOWS = [0.1, 0.5, 2, 5, 10, 30];
const BEHIND_US = 120000; // shown so much behind the newest, so that it moves evenly
const AXIS = 20, FRAME_MS = 33;

export class Lanes {
  constructor(history, on) {
    this.history = history;
    this.on = on; // select(index), first(index)
    this.strip = new Strip();
    this.canvas = by("canvas");
    this.seconds = 5;
    this.frozen = null;
    this.pointed = null;
    this.selected = 0;
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    for (const one of WINDOWS) by("window").append(make("option", { value: one, selected: one === this.seconds }, `${one} s`));
    by("window").addEventListener("change", () => this.zoomTo(Number(by("window").value)));
    by("freeze").addEventListener("click", () => this.freeze(this.frozen === null));
    by("previous").addEventListener("click", () => this.on.first(Math.max(0, this.first - this.most)));
    by("next").addEventListener("click", () => this.on.first(this.first + this.most));
    const picture = by("picture");
    picture.addEventListener("pointermove", (event) => this.point(event));
    picture.addEventListener("pointerdown", (event) => this.point(event));
    picture.addEventListener("pointerleave", () => this.show(null));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("blur", () => this.show(null));
    new ResizeObserver(() => this.layout()).observe(picture);
    this.readColours();
    this.legend();
    requestAnimationFrame((now) => this.animate(now));
  }

  readColours() {
    const style = getComputedStyle(document.documentElement);
    const names = [...STATES, ...ACTIONS, "grid", "muted", "select", "card", "ink"];
    this.colours = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  }

  // Another theme, another width, other lanes: everything is drawn anew.
  restyle() {
    this.readColours();
    this.legend();
    this.layout();
  }

  legend() {
    by("legend").replaceChildren(...["guest", "outside", "waiting", "paused", "halted", "off"].map((state) => {
      const fill = make("i");
      fill.style.height = `${100 * HEIGHTS[STATES.indexOf(state)]}%`;
      fill.style.background = this.colours[state];
      return make("li", { title: WORDS[state] }, make("span", { class: "swatch" }, fill), state === "guest" ? "in guest" : state);
    }));
    by("kick-legend").replaceChildren(...["ipi", "wakeup", "nothing", "woken"].map((action) => {
      const sample = make("canvas", { class: "arrow", width: 24, height: 28, "aria-hidden": "true" });
      drawArrow(sample.getContext("2d"), 12, 0, 26, ACTIONS.indexOf(action), this.colours, 2);
      return make("span", {}, sample, KICKS[action]);
    }), make("span", {}, "short: from the host"));
  }

  machine(hello) {
    this.requests = hello.requests;
    this.vcpus = hello.vm.vcpus;
    this.most = hello.lanes;
    this.setLanes(0);
  }

  setLanes(first) {
    this.first = first;
    this.count = Math.min(this.most, this.vcpus - first);
    const height = this.count <= 4 ? 44 : this.count <= 8 ? 36 : 28;
    this.rowHeight = height;
    const choose = (event) => this.on.select(Number(event.currentTarget.dataset.index));
    by("labels").replaceChildren(
      make("div", { class: "axis" }),
      ...Array.from({ length: this.count }, (_, place) => make(
        "button", { class: "label", "data-index": first + place, "aria-pressed": "false", onclick: choose },
        make("span", {}, make("span", { class: "word" }, "vCPU "), String(first + place)),
        make("span", { class: "meter" }, make("i")),
        make("span", { class: "share" }), make("span", { class: "exits" }),
      )),
    );
    by("labels").firstElementChild.style.height = `${AXIS}px`;
    for (const label of by("labels").querySelectorAll("button")) label.style.height = `${height}px`;
    by("pager").hidden = this.vcpus <= this.most;
    say(by("range"), `${first} to ${first + this.count - 1} of ${this.vcpus}`);
    by("previous").disabled = first === 0;
    by("next").disabled = first + this.count >= this.vcpus;
    this.select(this.selected);
    this.layout();
  }

  select(index) {
    this.selected = index;
    for (const label of by("labels").querySelectorAll("button")) {
      label.setAttribute("aria-pressed", String(Number(label.dataset.index) === index));
    }
  }

  layout() {
    if (this.count === undefined) return;
    const pad = Math.max(2, Math.round(this.rowHeight * 0.12));
    this.rows = Array.from({ length: this.count }, (_, place) => ({
      index: this.first + place, top: AXIS + place * this.rowHeight + pad, height: this.rowHeight - 2 * pad,
    }));
    this.height = AXIS + this.count * this.rowHeight;
    this.width = by("picture").clientWidth;
    this.scale = Math.min(3, window.devicePixelRatio || 1);
    this.canvas.width = Math.max(1, Math.round(this.width * this.scale));
    this.canvas.height = Math.round(this.height * this.scale);
    this.canvas.style.height = `${this.height}px`;
    this.strip.reset(this.canvas.width, this.seconds * 1e6, this.height, this.rows, this.colours, this.scale);
    const shown = this.history.frames.filter((frame) => frame.lanes.first === this.first);
    const from = (this.frozen ?? this.history.last?.vm.to ?? 0) - this.seconds * 1.1e6;
    for (const frame of shown) if (frame.vm.to > from && (this.frozen === null || frame.vm.from <= this.frozen)) this.strip.add(frame);
    this.dirty = true;
  }

  zoomTo(seconds) {
    this.seconds = seconds;
    by("window").value = String(seconds);
    this.layout();
  }

  zoom(step) {
    const place = WINDOWS.indexOf(this.seconds) + step;
    if (WINDOWS[place]) this.zoomTo(WINDOWS[place]);
  }

  freeze(on) {
    if (on && !this.history.last) return;
    this.frozen = on ? this.head() : null;
    by("freeze").setAttribute("aria-pressed", String(on));
    this.layout();
  }

  add(frame) {
    this.arrived = performance.now();
    if (this.frozen === null && frame.lanes.first === this.first) this.strip.add(frame);
    this.dirty = true;
    const rates = this.history.rates();
    rates.forEach((rate) => {
      const label = by("labels").querySelector(`[data-index="${rate.index}"]`);
      if (!label) return;
      label.querySelector("i").style.transform = `scaleX(${Math.min(1, rate.guest).toFixed(3)})`;
      say(label.querySelector(".share"), percent(rate.guest));
      say(label.querySelector(".exits"), `${short(rate.exits)}/s`);
      label.title = `${STATES[rate.state]}; ${percent(rate.guest)} in the guest, ${short(rate.exits)} exits a second`;
    });
    const out = frame.lanes.kicks_left_out;
    say(by("left-out"), out ? `${out} more kicks in ${duration(frame.vm.to - frame.vm.from)} than are drawn` : "");
    return rates;
  }

  // For screen readers: the picture as a table.
  tell(rates) {
    rows(by("lanes-rows"), rates, () => make("tr", {}, ...Array.from({ length: 6 }, () => make("td"))), (row, rate) => {
      const cells = [rate.index, WORDS[STATES[rate.state]], percent(rate.guest), percent(rate.asleep), short(rate.exits), short(rate.kicks)];
      cells.forEach((cell, place) => say(row.children[place], String(cell)));
    });
  }

  head() {
    const last = this.history.last;
    if (!last) return 0;
    if (this.still.matches || this.seconds < 1) return last.vm.to;
    return Math.min(last.vm.to, last.vm.to - BEHIND_US + (performance.now() - this.arrived) * 1000);
  }

  animate(now) {
    requestAnimationFrame((later) => this.animate(later));
    if (this.count === undefined || document.hidden) return;
    const moves = this.frozen === null && !this.still.matches && now - (this.arrived ?? 0) < 400;
    if (!this.dirty && (!moves || now - this.drawn < FRAME_MS)) return;
    this.drawn = now;
    this.dirty = false;
    this.draw(this.frozen ?? this.head());
  }

  draw(head) {
    const context = this.canvas.getContext("2d");
    const { scale, colours, width, height } = this;
    context.clearRect(0, 0, width * scale, height * scale);
    context.fillStyle = colours.select;
    const chosen = this.rows.find((row) => row.index === this.selected);
    if (chosen) context.fillRect(0, (chosen.top - 3) * scale, width * scale, (chosen.height + 6) * scale);
    context.fillStyle = colours.grid;
    const step = this.gridStep();
    for (let at = Math.floor(head / step) * step; at > head - this.seconds * 1e6; at -= step) {
      context.fillRect(Math.round(this.x(at, head) * scale), AXIS * scale, Math.max(1, Math.round(scale)), height * scale);
    }
    for (const row of this.rows) context.fillRect(0, Math.round((row.top + row.height) * scale), width * scale, Math.max(1, Math.round(scale)));
    this.strip.show(context, head);
    this.axis(context, step);
    if (this.pointed) this.mark(context, head);
  }

  gridStep() {
    return { 0.1: 2e4, 0.5: 1e5, 2: 5e5, 5: 1e6, 10: this.width < 500 ? 5e6 : 2e6, 30: this.width < 500 ? 1e7 : 5e6 }[this.seconds];
  }

  axis(context, step) {
    const { scale, colours } = this;
    context.font = `${11 * scale}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    context.textAlign = "right";
    for (let ago = 0; ago < this.seconds * 1e6 - step / 2; ago += step) {
      const text = ago ? `−${duration(ago).replace(/\.0+ /, " ")}` : this.frozen === null ? "now" : "frozen";
      const x = (this.width - 6 - (ago / (this.seconds * 1e6)) * this.width) * scale;
      context.lineWidth = 3 * scale;
      context.strokeStyle = colours.card;
      context.strokeText(text, x, (AXIS / 2) * scale);
      context.fillStyle = colours.muted;
      context.fillText(text, x, (AXIS / 2) * scale);
    }
  }

  mark(context, head) {
    const { scale, colours } = this;
    context.strokeStyle = colours.ink;
    context.lineWidth = scale;
    const x = Math.round(this.x(this.pointed.at, head) * scale) + 0.5;
    context.setLineDash([3 * scale, 3 * scale]);
    context.beginPath();
    context.moveTo(x, AXIS * scale);
    context.lineTo(x, this.height * scale);
    context.stroke();
    context.setLineDash([]);
  }

  x(at, head) {
    return this.width * (1 - (head - at) / (this.seconds * 1e6));
  }

  // What is under the pointer: a kick nearby, or what the lane did.
  point(event) {
    if (!this.history.last || this.count === undefined) return;
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const head = this.frozen ?? this.head();
    const perPixel = (this.seconds * 1e6) / this.width;
    const at = head - (this.width - x) * perPixel;
    let nearest = null;
    for (const kick of this.history.kicks()) {
      const off = Math.abs(kick.at - at) / perPixel;
      if (off > 6 || (nearest && off >= nearest.off)) continue;
      const [one, other] = this.strip.ends(kick.source, kick.target).map((end) => end / this.scale);
      if (y > Math.min(one, other) - 8 && y < Math.max(one, other) + 8) nearest = { kick, off };
    }
    if (nearest) return this.show(this.aKick(nearest.kick, head));
    const row = this.rows.find((one) => y >= one.top - 4 && y < one.top + one.height + 4);
    const what = row && this.history.at(row.index, at);
    this.show(what ? { at, y, text: [make("b", {}, who(row.index)), ` ${this.words(what)}`] } : null);
  }

  words(what) {
    if (what.shares) {
      const { guest, asleep, outside } = what.shares;
      return `${percent(guest)} in the guest, ${percent(outside)} outside, ${percent(asleep)} asleep: too quick to show one by one`;
    }
    return `${WORDS[STATES[what.state]]}, ${duration(what.to - what.from)}${what.from === 0 ? " or longer" : ""}`;
  }

  aKick(kick, head) {
    const name = this.requests?.[kick.request];
    const text = kick.action === 3
      ? [make("b", {}, who(kick.target)), ` ${KICKS.woken}`]
      : [make("b", {}, name ?? "kick"), ` ${who(kick.source)} → ${who(kick.target)}: ${KICKS[ACTIONS[kick.action]]}`];
    const y = Math.min(this.height - 20, this.strip.ends(kick.source, kick.target)[1] / this.scale);
    return { at: kick.at, y, kick, text: [...text, `, ${duration(Math.max(0, head - kick.at))} ago`] };
  }

  show(pointed) {
    if (!pointed && !this.pointed) return;
    this.pointed = pointed;
    this.dirty = true;
    const tip = by("tip");
    tip.hidden = !pointed;
    if (!pointed) return;
    tip.replaceChildren(...pointed.text);
    const x = this.x(pointed.at, this.frozen ?? this.head());
    tip.style.left = `${Math.max(4, Math.min(x + 12, this.width - tip.offsetWidth - 4))}px`;
    tip.style.top = `${Math.max(0, Math.min(pointed.y + 14, this.height - tip.offsetHeight))}px`;
  }

  // From kick to kick; the picture holds still meanwhile.
  key(event) {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!way) return;
    event.preventDefault();
    if (this.frozen === null) this.freeze(true);
    const from = this.frozen - this.seconds * 1e6;
    const shown = [...this.history.kicks()].filter((kick) => kick.at > from && kick.at <= this.frozen);
    if (!shown.length) return;
    const at = this.pointed?.kick ? shown.findIndex((kick) => kick.at === this.pointed.kick.at && kick.target === this.pointed.kick.target) : -1;
    const next = at < 0 ? (way < 0 ? shown.length - 1 : 0) : Math.max(0, Math.min(shown.length - 1, at + way));
    this.show(this.aKick(shown[next], this.frozen));
  }
}
