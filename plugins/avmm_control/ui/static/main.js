// The page: joins the connection, the picture, the panels, the console and the keys.

import { askForToken, call, Controls, login } from "./controls.js";
import { GuestConsole } from "./console.js";
import { by, bytes, say } from "./dom.js";
import { History } from "./history.js";
import { Inspector } from "./inspector.js";
import { Lanes } from "./lanes.js";
import { Machine } from "./machine.js";
import { Stream } from "./stream.js";
import "./theme.js";

const history = new History();
const inspector = new Inspector();
const machine = new Machine(history);
const lanes = new Lanes(history, { select, first });
const guest = new GuestConsole(
  (typed) => stream.type(typed), (columns, rows) => stream?.tell({ columns, rows }), () => by("canvas").focus(),
);
const controls = new Controls({ notice, selected: () => lanes.selected, state: stateChanged, stepped });
let stream = null;
let vcpus = 0;
let runs = 0;
let traffic = { at: 0, bytes: 0, frames: 0 };

function notice(text, kind = "") {
  const box = by("notice");
  box.hidden = !text;
  box.dataset.kind = kind;
  say(box, text);
}

function select(index) {
  if (index < 0 || index >= vcpus) return;
  lanes.select(index);
  inspector.choose(index);
  if (index < lanes.first || index >= lanes.first + lanes.count) first(index - (index % lanes.most));
  stream.look({ selected: index });
  if (controls.state === "paused") readRegisters();
}

function first(index) {
  lanes.setLanes(index);
  stream.look({ first: index });
}

async function readRegisters() {
  const index = lanes.selected;
  try {
    const registers = await controls.registers(index);
    if (registers && index === lanes.selected && controls.state === "paused") inspector.showRegisters(registers);
  } catch {
    inspector.showRegisters(null); // it runs again, or is over
  }
}

function stepped(results) {
  const [one] = results;
  if (one && one.instructions === 0) notice(`vCPU ${one.vcpu} executed nothing: ${one.ended}.`);
  readRegisters();
}

const on = {
  hello(message, same) {
    notice("");
    vcpus = message.vm.vcpus;
    controls.vm = message.vm.name;
    if (!same) {
      if (runs) guest.note("another run");
      runs += 1;
      history.clear();
      machine.machine(message);
      inspector.machine(message);
      lanes.machine(message);
    }
    guest.open = true;
  },

  frame(message) {
    history.add(message);
    const rates = lanes.add(message);
    machine.update(message, rates);
    inspector.still = message.vm.state !== "running";
    if (message.vcpu) inspector.update(message.vcpu, message.vm.to);
    inspector.now(rates.find((rate) => rate.index === lanes.selected));
    if (message.number % 10 === 0) lanes.tell(rates);
    controls.update(message.vm.state);
    count();
  },

  console: (data, lost, done) => guest.write(data, lost, done),

  end(message) {
    guest.open = false;
    controls.update("halted");
    machine.state(message.reason === "failed" || message.reason === "crash" ? message.reason : "halted");
    notice(`The machine is over: ${message.how}.`, ["failed", "crash"].includes(message.reason) ? "bad" : "");
  },

  link(state, seconds) {
    by("link").dataset.link = state;
    say(by("link"), state === "up" ? "connected" : state === "trying" ? "connecting…" : stream?.over ? "the machine is over" : `connection lost; again in ${seconds.toFixed(1)} s`);
    if (state === "down" && !stream.over) {
      machine.state("unreachable");
      controls.update("");
      guest.open = false;
    }
  },

  // The connection was turned away, or nobody is there: only a request tells which.
  async refused() {
    try {
      await call("GET", "/v1/vms");
    } catch (error) {
      if (error.status === 401) {
        stream.stop();
        await askForToken();
        start();
      }
    }
  },
};

function stateChanged(state) {
  if (state === "paused") readRegisters();
  else inspector.showRegisters(null);
}

function count() {
  traffic.frames += 1;
  if (performance.now() - traffic.at > 2000) {
    const seconds = (performance.now() - traffic.at) / 1000;
    if (traffic.at) say(by("traffic"), `${(traffic.frames / seconds).toFixed(0)} updates and ${bytes(Math.round((stream.received - traffic.bytes) / seconds))} a second`);
    traffic = { at: performance.now(), bytes: stream.received, frames: 0 };
  }
}

const KEYS = {
  p: () => controls.pause(), s: () => controls.step(), r: () => controls.reset(), d: () => controls.shutDown(), o: () => controls.powerOff(),
  c: () => guest.focus(), f: () => lanes.freeze(lanes.frozen === null), t: () => by("theme").click(), "?": () => by("help").click(),
  "+": () => lanes.zoom(-1), "=": () => lanes.zoom(-1), "-": () => lanes.zoom(1), j: () => select(lanes.selected + 1), k: () => select(lanes.selected - 1),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || guest.focused || document.querySelector("dialog[open]")) return;
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName ?? "")) return;
  const action = KEYS[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

document.addEventListener("themechange", () => {
  lanes.restyle();
  guest.restyle();
});

setInterval(() => document.hidden || !stream?.session || inspector.countDown(), 100);

// Which machine: the one in the address, or the first there is.
async function chooseMachine() {
  const wanted = new URLSearchParams(location.search).get("vm");
  if (wanted) return wanted;
  const [one] = await call("GET", "/v1/vms");
  return one?.name;
}

async function start() {
  stream?.stop();
  let name;
  try {
    name = await chooseMachine();
  } catch (error) {
    if (error.status === 401) await askForToken();
    else notice("avmm does not answer.", "bad");
    setTimeout(start, error.status === 401 ? 0 : 2000);
    return;
  }
  stream = new Stream(`${location.origin.replace(/^http/, "ws")}/v1/vms/${encodeURIComponent(name)}/live`, on);
  stream.connect();
}

// The token comes in the part of the address that is never sent, is traded for a cookie, and is gone from the address.
async function enter() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token !== null) {
    window.history.replaceState(null, "", location.pathname + location.search);
    await login(token);
  }
  await start();
}

enter();
