// The last seconds of frames, and what the counts in them come to a second.

const KEPT_US = 32e6;

export class History {
  constructor() {
    this.clear();
  }

  clear() {
    this.frames = [];
  }

  get last() {
    return this.frames[this.frames.length - 1];
  }

  add(frame) {
    const last = this.last;
    if (last && frame.vm.from < last.vm.to) this.clear(); // another machine's clock
    this.frames.push(frame);
    while (this.frames[0].vm.to < frame.vm.to - KEPT_US) this.frames.shift();
  }

  // The oldest frame of the last `us` that shows the same lanes, to count from.
  since(us) {
    const last = this.last;
    const from = last.vm.to - us;
    for (let index = this.frames.length - 1; index >= 0; index -= 1) {
      const frame = this.frames[index];
      if (frame.lanes.first !== last.lanes.first) return this.frames[index + 1];
      if (frame.vm.to <= from) return frame;
    }
    return this.frames[0];
  }

  // Each lane over the last second: shares of the VM's time, and counts a second of the host's.
  rates() {
    const last = this.last;
    const then = this.since(1e6);
    const seconds = Math.max(1e-3, (last.vm.to - then.vm.to) / 1e6);
    const passed = Math.max(1, last.vm.clock - then.vm.clock);
    return last.lanes.rows.map((lane, index) => {
      const before = then.lanes.rows[index] ?? lane;
      const [exits, guest, asleep, ...kicks] = lane.counts.map((count, place) => count - before.counts[place]);
      const none = then === last;
      return {
        index: last.lanes.first + index,
        lane,
        state: lane.state,
        guest: none ? 0 : guest / passed,
        asleep: none ? 0 : asleep / passed,
        exits: none ? 0 : exits / seconds,
        kicks: none ? 0 : kicks.reduce((sum, count) => sum + count, 0) / seconds,
      };
    });
  }

  // All kicks kept, oldest first, with their time.
  *kicks() {
    for (const frame of this.frames) {
      for (const [at, source, target, action, request] of frame.lanes.kicks) {
        yield { at: frame.vm.from + at, source, target, action, request };
      }
    }
  }

  // What a lane did at a moment: { state, from, to }, or { shares, from, to } where only these are known; null where nothing is.
  at(index, us) {
    const frame = this.frames.find((one) => one.vm.from <= us && us < one.vm.to);
    const lane = frame?.lanes.rows[index - frame.lanes.first];
    if (!lane) return null;
    const offset = us - frame.vm.from;
    const length = frame.vm.to - frame.vm.from;
    if (lane.rest && offset >= lane.rest[0]) return { shares: shares(lane, length), from: lane.rest[0], to: length };
    const changes = lane.changes;
    for (let place = changes.length - 2; place >= 0; place -= 2) {
      if (changes[place] <= offset) {
        const end = lane.rest ? lane.rest[0] : length;
        return { state: changes[place + 1], from: changes[place], to: changes[place + 2] ?? end };
      }
    }
    return null;
  }
}

// The shares of outside, guest and asleep in the part of a lane that is not known change by change.
export function shares(lane, length) {
  const [start, guest, asleep] = lane.rest;
  const whole = Math.max(length - start, guest + asleep, 1);
  return { guest: guest / whole, asleep: asleep / whole, outside: Math.max(0, 1 - (guest + asleep) / whole) };
}
