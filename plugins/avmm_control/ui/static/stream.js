// The connection: a WebSocket that is made anew, ever more patiently, when it breaks. docs/live-stream.md describes what goes over it.

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10000;
const SILENCE_MS = 15000; // a connection that says nothing for so long is taken for broken

export class Stream {
  // `on` has hello(message), frame(message), console(bytes, lost, done), end(message), link(state, seconds), refused().
  constructor(url, on) {
    this.url = url;
    this.on = on;
    this.session = "";
    this.place = 0; // where our copy of the console's output ends
    this.waitMs = FIRST_WAIT_MS;
    this.received = 0;
    this.over = false;
    this.view = { first: 0, selected: 0 };
    // Whoever looks away has nothing shown, so nothing is acknowledged, and the VM has nobody to look for.
    document.addEventListener("visibilitychange", () => this.seen());
    window.addEventListener("online", () => this.connect());
  }

  connect() {
    if (this.socket && this.socket.readyState <= WebSocket.OPEN) return;
    clearTimeout(this.timer);
    this.on.link("trying", 0);
    const socket = new WebSocket(`${this.url}?session=${this.session}&place=${this.place}`);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.got = this.shown = 0;
    let opened = false;
    socket.onopen = () => {
      opened = true;
      this.listen();
    };
    socket.onmessage = (event) => this.socket === socket && this.take(event.data);
    socket.onclose = () => this.socket === socket && this.broken(opened);
    this.listen();
  }

  listen() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => document.hidden || this.socket.close(), SILENCE_MS);
  }

  take(data) {
    this.listen();
    this.got += 1;
    if (typeof data !== "string") {
      this.received += data.byteLength;
      const place = Number(new DataView(data).getBigUint64(0));
      const bytes = new Uint8Array(data, 8);
      const lost = place - this.place;
      this.place = place + bytes.length;
      this.on.console(bytes, lost, () => this.seen());
      return;
    }
    this.received += data.length;
    const message = JSON.parse(data);
    if (message.type === "hello") this.hello(message);
    else if (message.type === "frame") this.on.frame(message);
    else if (message.type === "end") {
      this.over = true;
      this.on.end(message);
    }
    this.seen();
  }

  hello(message) {
    const same = message.session === this.session;
    this.session = message.session;
    if (!same) this.place = 0;
    this.over = false;
    this.waitMs = FIRST_WAIT_MS;
    this.on.link("up", 0);
    this.on.hello(message, same);
    this.tell(this.view);
  }

  // One more message is shown; said of all at once, and of none while nobody looks.
  seen() {
    if (document.hidden || this.socket?.readyState !== WebSocket.OPEN || this.shown === this.got) return;
    this.shown = this.got;
    this.tell({ shown: this.shown });
  }

  broken(opened) {
    clearTimeout(this.silence);
    if (!opened) this.on.refused();
    const wait = this.over ? LONGEST_WAIT_MS : this.waitMs * (0.75 + Math.random() / 2);
    this.waitMs = Math.min(LONGEST_WAIT_MS, this.waitMs * 2);
    this.on.link("down", wait / 1000);
    this.timer = setTimeout(() => this.connect(), wait);
  }

  stop() {
    clearTimeout(this.timer);
    clearTimeout(this.silence);
    const socket = this.socket;
    this.socket = undefined;
    socket?.close();
  }

  look(view) {
    Object.assign(this.view, view);
    this.tell(view);
  }

  tell(message) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  type(bytes) {
    if (this.socket?.readyState !== WebSocket.OPEN) return false;
    for (let start = 0; start < bytes.length; start += 4096) this.socket.send(bytes.subarray(start, start + 4096));
    return true;
  }
}
