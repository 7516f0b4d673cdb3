// The picture's pixels: each lane as columns, drawn once as they come and moved from then on.

import { shares } from "./history.js";
import { ACTIONS, STATES } from "./words.js";

const OUTSIDE = 0, GUEST = 2, HALTED = 3, COUNT = STATES.length;
export const HEIGHTS = [0.72, 0.42, 1, 0.14, 0.07, 0.28]; // so that nothing is told by colour alone
const ORDER = [2, 0, 1, 5, 3, 4]; // from the ground up
const FAINTEST = [0.2, 0.22, 0.6, 0.5]; // how opaque an arrow among many is, by action
const CLEAR_GAP = 9; // from how many pixels on it is wholly so
const STUB = 13;
const AHEAD = 8; // columns in front of the newest that are kept clear

export class Strip {
  constructor() {
    this.ground = document.createElement("canvas");
    this.arrows = document.createElement("canvas");
  }

  // `columns` of the time `us`, lanes from `first` on as high as `rows` says: [{ index, top, height }].
  reset(columns, us, height, rows, colours, scale) {
    Object.assign(this, { columns, rows, colours, scale, perColumn: us / columns });
    this.size = columns + 2 * AHEAD;
    for (const canvas of [this.ground, this.arrows]) {
      canvas.width = this.size;
      canvas.height = Math.max(1, Math.round(height * scale));
    }
    this.parts = rows.map(() => new Float32Array(this.size * COUNT));
    this.known = new Float32Array(this.size);
    this.head = -1;
    this.places = new Map(rows.map((row, place) => [row.index, place]));
    this.lastArrow = new Map();
  }

  column(us) {
    return Math.floor(us / this.perColumn);
  }

  add(frame) {
    const { from, to } = frame.vm;
    const begin = this.column(from);
    const end = this.column(to);
    if (this.head < 0 || begin - this.head > this.size) this.head = begin - 1;
    this.advance(end);
    const oldest = Math.max(begin, end - this.columns - AHEAD);
    this.fill(this.known, from, to, 0, 1, 1, oldest);
    frame.lanes.rows.forEach((lane, row) => {
      const place = this.places.get(frame.lanes.first + row);
      if (place !== undefined) this.lane(this.parts[place], lane, from, to, oldest);
    });
    for (let column = oldest; column <= end; column += 1) this.paint(column);
    for (const [at, source, target, action] of frame.lanes.kicks) this.arrow(from + at, source, target, action);
  }

  lane(parts, lane, from, to, oldest) {
    const changes = lane.changes;
    const until = lane.rest ? from + lane.rest[0] : to;
    for (let place = 0; place < changes.length; place += 2) {
      const end = place + 2 < changes.length ? from + changes[place + 2] : until;
      this.fill(parts, from + changes[place], end, changes[place + 1], COUNT, 1, oldest);
    }
    if (!lane.rest) return;
    const part = shares(lane, to - from);
    for (const [state, share] of [[GUEST, part.guest], [HALTED, part.asleep], [OUTSIDE, part.outside]]) {
      if (share > 0) this.fill(parts, until, to, state, COUNT, share, oldest);
    }
  }

  // Adds a stretch of time to the columns that it covers, each with its share of it.
  fill(parts, from, to, state, stride, weight, oldest) {
    const last = this.column(to);
    for (let column = Math.max(this.column(from), oldest); column <= last; column += 1) {
      const start = column * this.perColumn;
      const share = (Math.min(to, start + this.perColumn) - Math.max(from, start)) / this.perColumn;
      if (share > 0) parts[(column % this.size) * stride + state] += share * weight;
    }
  }

  // Clears what is in front of the newest column.
  advance(end) {
    const arrows = this.arrows.getContext("2d");
    const start = Math.max(this.head + 1, end - this.size + 1);
    for (let column = start; column <= end; column += 1) {
      const x = column % this.size;
      for (const parts of this.parts) parts.fill(0, x * COUNT, (x + 1) * COUNT);
      this.known[x] = 0;
      arrows.clearRect((column + AHEAD) % this.size, 0, 1, this.arrows.height);
    }
    this.head = Math.max(this.head, end);
  }

  paint(column) {
    const x = column % this.size;
    const ground = this.ground.getContext("2d");
    ground.clearRect(x, 0, 1, this.ground.height);
    const known = this.known[x];
    if (known <= 0) return;
    this.rows.forEach((row, place) => {
      const parts = this.parts[place];
      const full = row.height * this.scale;
      let bottom = Math.round((row.top + row.height) * this.scale);
      for (const state of ORDER) {
        const share = parts[x * COUNT + state] / known;
        if (share <= 0) continue;
        const least = state === GUEST || state === OUTSIDE ? this.scale : 1;
        const height = Math.max(least, Math.round(full * share * HEIGHTS[state]));
        ground.fillStyle = this.colours[STATES[state]];
        ground.fillRect(x, bottom - height, 1, height);
        bottom -= height;
      }
    });
  }

  // Where an arrow between two lanes begins and ends; one from the host comes a short way from above.
  ends(source, target) {
    const middle = (index) => {
      const place = this.places.get(index);
      if (place !== undefined) return (this.rows[place].top + this.rows[place].height / 2) * this.scale;
      return index < (this.rows[0]?.index ?? 0) ? 0 : this.arrows.height;
    };
    const end = middle(target);
    return [source < 0 ? end - STUB * this.scale : middle(source), end];
  }

  // An arrow at a moment, the fainter the closer the one before; another of the same kind in the same place is not drawn again.
  arrow(us, source, target, action) {
    const column = this.column(us);
    if (column <= this.head - this.size) return;
    const kind = `${source} ${target} ${action}`;
    if (column - (this.lastArrow.get(kind) ?? -99) < 2 * this.scale) return;
    const gap = Math.abs(column - (this.lastArrow.get("") ?? -99)) / this.scale;
    this.lastArrow.set(kind, column).set("", column);
    const context = this.arrows.getContext("2d");
    context.globalAlpha = Math.max(FAINTEST[action], Math.min(1, gap / CLEAR_GAP));
    const x = column % this.size;
    for (const at of [x, x - this.size, x + this.size]) {
      if (at > -AHEAD && at < this.size + AHEAD) drawArrow(context, at + 0.5, ...this.ends(source, target), action, this.colours, this.scale);
    }
  }

  // Draws the columns that end with the time `us` to a canvas of as many columns.
  show(context, us) {
    const last = Math.min(this.column(us), this.head);
    const shift = Math.round(us / this.perColumn) - last;
    for (const canvas of [this.ground, this.arrows]) {
      const end = (last % this.size) + 1;
      const right = Math.min(end, this.columns);
      const x = this.columns - shift;
      if (right > 0) context.drawImage(canvas, end - right, 0, right, canvas.height, x - right, 0, right, canvas.height);
      const left = this.columns - right;
      if (left > 0) context.drawImage(canvas, this.size - left, 0, left, canvas.height, x - right - left, 0, left, canvas.height);
    }
  }
}

export function drawArrow(context, x, from, to, action, colours, scale) {
  const colour = colours[ACTIONS[action]];
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = scale;
  if (action === 3) {
    context.beginPath();
    context.arc(x, to - 5 * scale, 1.6 * scale, 0, 7);
    context.fill();
    return;
  }
  const head = Math.sign(to - from || -1) * 5 * scale;
  context.setLineDash(action === 0 ? [2 * scale, 2 * scale] : []);
  context.beginPath();
  context.moveTo(x, from === to ? to + 9 * scale : from);
  context.lineTo(x, to - head);
  context.stroke();
  context.setLineDash([]);
  context.beginPath();
  context.moveTo(x, to);
  context.lineTo(x - 3 * scale, to - head);
  context.lineTo(x + 3 * scale, to - head);
  context.fill();
}
