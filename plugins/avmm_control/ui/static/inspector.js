// One vCPU, closely: requests, exits, interrupt lines, timers, counters, and its registers while the machine is paused.

import { by, duration, make, rows, say, short } from "./dom.js";
import { STATES } from "./words.js";

const SHORT_US = 3e5; // a timer that is set anew more often than a page is told is shown as it was
const panel = (title, wide, ...body) => make("section", { class: wide ? "wide" : "" }, make("h3", {}, title), ...body);
const nothing = (text) => make("p", { class: "none" }, text);

export class Inspector {
  constructor() {
    const bars = () => make("div", { class: "bars" });
    const table = (...heads) => make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody"));
    const head = (text, number) => make("th", { scope: "col", class: number ? "number" : "" }, text);
    this.pending = make("div", { class: "chips" });
    this.requests = table(head("request"), head("made", true), head("handled", true));
    this.exits = bars();
    this.timers = bars();
    this.lines = make("div", { class: "chips" });
    this.counters = table(head("counter"), head("event"), head("a second", true), head("value", true));
    this.registers = make("div", { class: "registers mono" });
    this.registerPanel = panel("Registers", true, this.registers);
    this.registerPanel.hidden = true;
    this.wakes = make("p", { class: "none" });
    by("panels").append(
      panel("Exits by reason", false, this.exits),
      panel("Requests", false, this.pending, this.requests),
      panel("Interrupt lines", false, this.lines),
      panel("Timers", false, this.timers, this.wakes),
      panel("Performance counters", true, this.counters),
      this.registerPanel,
    );
    this.due = [];
  }

  machine(hello) {
    this.names = hello.requests;
    this.reasons = hello.exits;
    this.runs = hello.vm.clock === "host";
    this.choose(0);
  }

  choose(index) {
    this.index = index;
    this.seen = [];
    this.due = [];
    say(by("inspector-title"), `vCPU ${index}`);
    this.showRegisters(null);
  }

  // `to` is the host's time of the frame that brought the panel.
  update(vcpu, to) {
    if (vcpu.index !== this.index) return;
    this.seen.push({ vcpu, to });
    while (this.seen.length > 2 && to - this.seen[0].to > 1.2e6) this.seen.shift();
    const then = this.seen[0].vcpu;
    const seconds = Math.max(0.05, (to - this.seen[0].to) / 1e6);
    this.showExits(vcpu, then, seconds);
    this.showRequests(vcpu);
    lights(this.lines, vcpu.lines);
    this.showTimers(vcpu);
    this.showCounters(vcpu, then, seconds);
    say(this.wakes, `${short(vcpu.wakeups[0])} wake-ups, ${short(vcpu.wakeups[1])} of them for nothing`);
  }

  now(rate) {
    if (!rate) return;
    say(by("vcpu-mode"), rate.lane.mode);
    const badge = by("vcpu-state");
    badge.dataset.state = STATES[rate.state];
    say(badge, rate.state === 2 ? "in guest" : STATES[rate.state]);
  }

  showExits(vcpu, then, seconds) {
    const found = vcpu.exits.map((total, place) => ({ name: this.reasons[place], total, rate: (total - then.exits[place]) / seconds }));
    const shown = found.filter((one) => one.total);
    const most = Math.max(...shown.map((one) => one.rate), 1);
    bars(this.exits, shown, "no exits yet", (one) => [
      one.name.replaceAll("_", " "), Math.log1p(one.rate) / Math.log1p(most), `${short(one.rate)}/s`, short(one.total),
    ]);
  }

  showRequests(vcpu) {
    rows(this.pending, vcpu.pending.length ? vcpu.pending : ["none pending"], () => make("span", { class: "chip" }), (chip, name) => {
      chip.dataset.on = String(vcpu.pending.length > 0);
      say(chip, name);
    });
    cells(this.requests, vcpu.requests.rows.map(([name, made, handled]) => [name, short(made), short(handled)]), ["", "number", "number"]);
  }

  showTimers(vcpu) {
    this.due = vcpu.timers.rows.map(([name, us]) => ({ name, us, span: Math.max(us, this.span?.[name] ?? 0) }));
    for (const timer of this.due) {
      const before = this.last?.[timer.name];
      if (before === undefined || timer.us > before) timer.span = timer.us;
    }
    this.span = Object.fromEntries(this.due.map((timer) => [timer.name, timer.span]));
    this.last = Object.fromEntries(this.due.map((timer) => [timer.name, timer.us]));
    this.taken = performance.now();
    this.countDown();
  }

  // Between two frames a timer's clock goes on, when it is the host's.
  countDown() {
    const passed = this.runs && !this.still ? (performance.now() - this.taken) * 1000 : 0;
    bars(this.timers, this.due, "none set", (timer) => {
      const left = Math.max(0, timer.us - (timer.us > SHORT_US ? passed : 0));
      return [timer.name, timer.span ? left / timer.span : 0, left ? `in ${duration(left)}` : "due", ""];
    }, "timer");
  }

  showCounters(vcpu, then, seconds) {
    const before = Object.fromEntries(then.counters.rows.map(([name, , , value]) => [name, value]));
    const found = vcpu.counters.rows.map(([name, event, enabled, value]) => {
      const grown = Number(BigInt.asUintN(64, BigInt(value) - BigInt(before[name] ?? value)));
      return [name, enabled ? event : `${event} (off)`, short(grown / seconds), value];
    });
    this.counters.hidden = !found.length;
    cells(this.counters, found, ["mono", "", "number", "number mono"]);
    let hint = this.counters.nextElementSibling;
    if (!hint) this.counters.after((hint = nothing("none in use")));
    hint.hidden = found.length > 0;
  }

  showRegisters(registers) {
    this.registerPanel.hidden = !registers;
    if (!registers) return;
    rows(this.registers, Object.entries(registers), () => make("div", {}, make("span"), make("span")), (row, [name, value]) => {
      say(row.firstChild, name);
      say(row.lastChild, value);
    });
  }
}

// Interrupt lines as chips with three lights: level, pending, active.
export function lights(parent, lines) {
  // The interrupts between vCPUs are always enabled: those at rest are one chip.
  const idle = lines.rows.filter(([name, ...on]) => name.startsWith("SGI") && !on.some(Boolean)).length;
  const shown = lines.rows.filter(([name, ...on]) => !name.startsWith("SGI") || on.some(Boolean));
  if (idle) shown.push([`${idle} SGIs`, false, false, false]);
  rows(parent, shown.length ? shown : [null], () => make("span"), (chip, line) => {
    chip.className = line ? "chip" : "none";
    if (!line) return chip.replaceChildren("none in use");
    if (!chip.querySelector(".lights")) {
      chip.replaceChildren(make("span"), make("span", { class: "lights", "aria-hidden": "true" }, ...["level", "pending", "active"].map((name) => make("i", { class: name }))), make("span", { class: "hidden" }));
    }
    const [name, ...on] = line;
    const words = ["high", "pending", "active"].filter((_, place) => on[place]);
    say(chip.firstChild, name);
    [...chip.children[1].children].forEach((light, place) => light.classList.toggle("on", on[place]));
    say(chip.lastChild, words.join(", ") || "idle");
    chip.title = `${name}: ${words.join(", ") || "idle"}`;
  });
}

function bars(parent, items, none, row, kind = "") {
  const width = 4;
  if (!items.length) return parent.replaceChildren(nothing(none));
  if (parent.firstElementChild?.className === "none") parent.replaceChildren();
  while (parent.children.length > items.length * width) parent.lastElementChild.remove();
  items.forEach((item, index) => {
    if (parent.children.length <= index * width) {
      parent.append(make("span"), make("span", { class: `bar ${kind}` }, make("i")), make("span", { class: "rate" }), make("span", { class: "total" }));
    }
    const [name, share, rate, total] = row(item);
    const place = [...Array(width).keys()].map((cell) => parent.children[index * width + cell]);
    say(place[0], name);
    place[1].firstElementChild.style.transform = `scaleX(${share.toFixed(3)})`;
    say(place[2], rate);
    say(place[3], total);
  });
}

export function cells(table, lines, classes) {
  rows(table.tBodies[0], lines, (line) => make("tr", {}, ...line.map((_, place) => make("td", { class: classes[place] }))), (row, line) => {
    line.forEach((cell, place) => say(row.children[place], String(cell)));
  });
}
