// What is picked in the picture: objects that are left out, and points that add or take away.

const MAX_POINTS = 64;
const POINT_RADIUS = 12; // CSS pixels around a point in which a click removes it

export class Selection {
  constructor() {
    this.clear();
  }

  clear() {
    this.dropped = new Set(); // indices of found objects
    this.found = []; // objects of the prompt, dropped ones included
    this.points = []; // {x, y, label} in pixels of the photo that is sent
  }

  // The objects of a result: those of the prompt, in the order of their indices, then those that points added.
  read({ instances, fields }) {
    const added = fields.points ? instances.filter(({ label }) => label === "object") : [];
    const own = instances.slice(0, instances.length - added.length);
    if (!fields.drop) this.found = own;
    const kept = [...own];
    const found = this.found.map((one, index) => ({
      ...(this.dropped.has(index) ? one : (kept.shift() ?? one)),
      index,
      isDropped: this.dropped.has(index),
    }));
    return [...found, ...added.map((one) => ({ ...one, index: -1, isDropped: false }))];
  }

  copy() {
    return { dropped: [...this.dropped], found: this.found, points: [...this.points] };
  }

  restore({ dropped, found, points }) {
    this.dropped = new Set(dropped);
    this.found = found;
    this.points = [...points];
  }

  get fields() {
    const fields = {};
    if (this.points.length) fields.points = this.points.map(({ x, y, label }) => [x, y, label].join(",")).join(";");
    if (this.dropped.size) fields.drop = [...this.dropped].sort((a, b) => a - b).join(",");
    return fields;
  }

  toggle(index) {
    if (!this.dropped.delete(index)) this.dropped.add(index);
  }

  // Adds a point, or removes the one that is there already. `reach` is in pixels of the photo.
  mark(x, y, label, reach) {
    const near = this.points.findIndex((point) => Math.hypot(point.x - x, point.y - y) <= reach * POINT_RADIUS);
    if (near >= 0) this.points.splice(near, 1);
    else if (this.points.length < MAX_POINTS) this.points.push({ x: round(x), y: round(y), label });
  }

  get marksObject() {
    return this.points.some(({ label }) => label === 1);
  }
}

const round = (value) => Math.round(10 * value) / 10;

// Returns the smallest of the objects whose outline is around a place, or undefined.
export function objectAt(objects, x, y) {
  const area = ({ box: [left, top, right, bottom] }) => (right - left) * (bottom - top);
  return objects
    .filter(({ polygons }) => polygons.some((points) => isInside(points, x, y)))
    .sort((a, b) => area(a) - area(b))[0];
}

function isInside(points, x, y) {
  let inside = false;
  for (let i = 0, j = points.length - 2; i < points.length; j = i, i += 2) {
    const [x1, y1, x2, y2] = [points[i], points[i + 1], points[j], points[j + 1]];
    if (y1 > y !== y2 > y && x < ((x2 - x1) * (y - y1)) / (y2 - y1) + x1) inside = !inside;
  }
  return inside;
}

// Returns fields for the photo in its own size.
export function inFullSize(fields, { canvas, original }) {
  const scale = original.width / canvas.width;
  if (scale === 1) return fields;
  const full = { ...fields, grow_mask: Math.min(100, Math.round(fields.grow_mask * scale)) };
  if (fields.points) {
    full.points = fields.points
      .split(";")
      .map((point) => point.split(",").map(Number))
      .map(([x, y, label]) => [Math.min(original.width, round(x * scale)), Math.min(original.height, round(y * scale)), label].join(","))
      .join(";");
  }
  return full;
}
