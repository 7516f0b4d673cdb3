// What a user can do to the machine, by button and by key, and the door: the token.

import { by, say } from "./dom.js";

export class Refused extends Error {}

export async function call(method, path, body) {
  const answer = await fetch(path, {
    method, credentials: "same-origin", headers: body === undefined ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await answer.text();
  const json = /json/.test(answer.headers.get("content-type") ?? "") ? JSON.parse(text) : null;
  if (!answer.ok) throw Object.assign(new Refused(json?.detail ?? answer.statusText), { status: answer.status });
  return json;
}

// Trades a token for a cookie that no script can read. False when the token is wrong.
export async function login(token) {
  const answer = await fetch("/ui/login", { method: "POST", headers: { Authorization: `Bearer ${token}` }, credentials: "same-origin" });
  return answer.ok;
}

export function askForToken() {
  return new Promise((resolve) => {
    const dialog = by("login-dialog");
    by("login-form").onsubmit = async (event) => {
      event.preventDefault();
      if (await login(by("token").value.trim())) {
        by("token").value = "";
        dialog.close();
        resolve();
      } else {
        say(by("login-error"), "That is not the token.");
        by("token").select();
      }
    };
    dialog.oncancel = (event) => event.preventDefault();
    if (!dialog.open) dialog.showModal();
  });
}

function confirm(title, text, yes) {
  say(by("confirm-title"), title);
  say(by("confirm-text"), text);
  say(by("confirm-yes"), yes);
  const dialog = by("confirm-dialog");
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

export class Controls {
  // `on` has notice(text, kind), selected(), state(word) and stepped().
  constructor(on) {
    this.on = on;
    this.vm = "";
    this.state = "";
    this.turn = Promise.resolve();
    by("pause").addEventListener("click", () => this.pause());
    by("step").addEventListener("click", () => this.step());
    by("reset").addEventListener("click", () => this.reset());
    by("shutdown").addEventListener("click", () => this.shutDown());
    by("power").addEventListener("click", () => this.powerOff());
    by("help").addEventListener("click", () => by("help-dialog").showModal());
  }

  update(state) {
    if (state === this.state) return;
    this.state = state;
    const [running, paused] = [state === "running", state === "paused"];
    by("pause").disabled = !(running || paused);
    by("step").disabled = !paused;
    by("reset").disabled = by("shutdown").disabled = by("power").disabled = !(running || paused);
    say(by("pause-label"), paused ? "Resume" : "Pause");
    by("pause").title = paused ? "Go on (p)" : "Pause (p)";
    by("pause-icon").setAttribute("d", paused ? "M4 2.5l9 5.5-9 5.5z" : "M4 3h3v10H4zM9 3h3v10H9z");
    this.on.state(state);
  }

  // One call after the other: what a step shows is what it left behind.
  ask(method, path, body, wanted = () => true) {
    const answer = this.turn.then(async () => {
      if (!wanted()) return null;
      const done = await call(method, `/v1/vms/${encodeURIComponent(this.vm)}/${path}`, body);
      if (path === "pause" || path === "resume") this.update(done.state);
      return done;
    });
    this.turn = answer.catch(() => null);
    return answer;
  }

  async do(action, body) {
    try {
      return await this.ask("POST", action, body);
    } catch (error) {
      this.on.notice(error instanceof Refused ? error.message : "avmm does not answer.", "bad");
      return null;
    }
  }

  async pause() {
    if (!by("pause").disabled) await this.do(this.state === "paused" ? "resume" : "pause");
  }

  async step() {
    if (by("step").disabled) return;
    const done = await this.do("step", { instructions: 1, vcpu: this.on.selected() });
    if (done) this.on.stepped(done);
  }

  async reset() {
    if (by("reset").disabled) return;
    if (await confirm("Reset the machine?", "It starts again, as by its reset button. What the guest has not written to a disk is lost.", "Reset")) await this.do("reset");
  }

  async shutDown() {
    if (!by("shutdown").disabled) await this.do("power-button");
  }

  async powerOff() {
    if (by("power").disabled) return;
    if (await confirm("Power off?", "The machine is switched off at once, without asking the guest.", "Power off")) await this.do("power-off");
  }

  registers(index) {
    return this.ask("GET", `vcpus/${index}/registers`, undefined, () => this.state === "paused" && this.on.selected() === index);
  }
}
