// The machine as a whole: its state and figures on top, what it is, its devices, the last kicks.

import { bytes, by, duration, make, percent, rows, say, short } from "./dom.js";
import { cells, lights } from "./inspector.js";
import { who } from "./words.js";

const ACTIONS = ["nothing", "wake-up", "IPI", "no kick: woken"];
const KICKS = 50;

export class Machine {
  constructor(history) {
    this.history = history;
    this.lines = make("div", { class: "chips" });
    by("machine-lines").append(make("h3", {}, "Shared interrupt lines"), this.lines);
  }

  machine(hello) {
    const vm = hello.vm;
    this.names = hello.requests;
    say(by("name"), vm.name);
    document.title = `${vm.name} · avmm`;
    this.facts = {
      vCPUs: `${vm.vcpus}, on ${vm.slots === 1 ? "one slot" : `${vm.slots} slots`}`, memory: bytes(vm.memory), CPU: vm.cpu, architecture: vm.arch,
      engine: vm.engine, "interrupt controller": vm.irqchip || "default", clock: vm.clock, faults: "none", unclaimed: "0",
    };
    this.showFacts();
    by("mips-box").hidden = true;
  }

  showFacts() {
    rows(by("facts"), Object.entries(this.facts), () => make("div", {}, make("dt"), make("dd")), (fact, [name, value]) => {
      say(fact.firstChild, name);
      say(fact.lastChild, value);
    });
  }

  state(word) {
    by("state").dataset.state = word;
    say(by("state"), word);
  }

  update(frame, rates) {
    const { vm } = frame;
    this.state(vm.state);
    if (vm.started >= 0) say(by("uptime"), duration(Math.max(0, vm.clock - vm.started)));
    const sum = (key) => rates.reduce((total, rate) => total + rate[key], 0);
    say(by("busy"), percent(rates.length ? sum("guest") / rates.length : 0));
    say(by("exits"), `${short(sum("exits"))}/s`);
    const then = this.history.since(1e6);
    const passed = vm.to - then.vm.to;
    if (passed > 0) {
      const ratio = (vm.clock - then.vm.clock) / passed;
      say(by("ratio"), `${ratio >= 9.95 ? short(ratio) : ratio.toFixed(2)}×`);
      if (vm.instructions !== null) {
        by("mips-box").hidden = false;
        say(by("mips"), short((vm.instructions - then.vm.instructions) / passed));
      }
    }
    if (frame.machine) this.devices(frame.machine);
    if (frame.number % 5 === 0) this.kicks(vm.to);
  }

  devices(machine) {
    const lines = machine.devices.map(([name, address, reads, writes, faults, quarantined, level]) => [
      name, address, short(reads), short(writes), level === null ? "–" : level ? "high" : "low",
      quarantined ? "quarantined" : faults ? `${faults} faults` : "good",
    ]);
    cells(by("devices"), lines, ["", "mono", "number", "number", "", "health"]);
    for (const cell of by("devices").querySelectorAll(".health")) cell.className = `health ${cell.textContent === "good" ? "fine" : "bad"}`;
    lights(this.lines, machine.lines);
    this.facts.faults = machine.faults.rows.map(([kind, count]) => `${kind} ${short(count)}`).join(", ") || "none";
    this.facts.unclaimed = `${short(machine.unclaimed)} accesses`;
    this.showFacts();
  }

  kicks(now) {
    const last = [...this.history.kicks()].filter((kick) => kick.action !== 3).slice(-KICKS).reverse();
    const lines = last.map((kick) => [duration(now - kick.at), who(kick.source), who(kick.target), this.names[kick.request] ?? "–", ACTIONS[kick.action]]);
    cells({ tBodies: [by("kick-rows")] }, lines, ["number", "", "", "mono", ""]);
  }
}
