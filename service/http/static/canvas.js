// The canvas: a photo and its mask.

export const COLOURS = ["#ffd60a", "#00e5ff", "#ff5ca8", "#7dff6a", "#ff9f43", "#c9b6ff"];
const TINT = "#7a3cff";
const TINT_ALPHA = 0.52;
const VEIL = "rgb(0 0 0 / 30%)";
const LABEL_PIXELS = 13;

export class Stage {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.after = document.createElement("canvas");
    this.view = { split: 0, isCutout: false, hasOutlines: true };
    this.selected = -1; // index of the instance under the pointer
    this.result = null;
    this.objects = []; // of the result and those that are left out
    this.points = [];
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  show(photo, result, view, objects = [], points = []) {
    this.photo = photo;
    this.result = result;
    this.objects = objects;
    this.points = points;
    this.view = { ...this.view, ...view };
    const { width, height } = photo.canvas;
    if (this.canvas.width !== width || this.canvas.height !== height) {
      for (const canvas of [this.canvas, this.after]) [canvas.width, canvas.height] = [width, height];
    }
    this.compose();
    this.draw();
  }

  change(view) {
    const isCutout = this.view.isCutout;
    this.view = { ...this.view, ...view };
    if (this.view.isCutout !== isCutout) this.compose();
    this.draw();
  }

  // Draws everything that does not depend on the before/after slider.
  compose() {
    if (!this.result) return;
    const { photo: { canvas }, result } = this;
    const context = this.after.getContext("2d");
    context.globalCompositeOperation = "copy";
    if (this.view.isCutout) {
      context.drawImage(result.picture ?? cutOut(canvas, result.mask), 0, 0);
      return;
    }
    context.drawImage(canvas, 0, 0);
    context.globalCompositeOperation = "source-over";
    if (result.is_empty && !result.fields.invert_mask) return;
    context.fillStyle = VEIL;
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(cutOut(canvas, result.mask), 0, 0);
    context.globalAlpha = TINT_ALPHA;
    context.drawImage(paint(result.mask, TINT), 0, 0);
    context.globalAlpha = 1;
  }

  draw() {
    if (!this.photo) return;
    const { width, height } = this.canvas;
    const context = this.context;
    context.clearRect(0, 0, width, height);
    context.drawImage(this.result ? this.after : this.photo.canvas, 0, 0);
    if (!this.result) {
      this.mark();
      return;
    }
    if (this.view.hasOutlines) this.outline();
    this.mark();
    const split = (this.view.split / 100) * width;
    if (split > 0) context.drawImage(this.photo.canvas, 0, 0, split, height, 0, 0, split, height);
  }

  outline() {
    const scale = this.canvas.width / (this.canvas.clientWidth || this.canvas.width);
    const instances = [...this.objects.entries()];
    for (const [index, instance] of instances) {
      this.context.setLineDash(instance.isDropped ? [6 * scale, 6 * scale] : []);
      const isSelected = index === this.selected;
      this.trace(instance.polygons, "rgb(0 0 0 / 65%)", (isSelected ? 7 : 4) * scale);
      this.trace(instance.polygons, COLOURS[index % COLOURS.length], (isSelected ? 4 : 2) * scale);
    }
    this.context.setLineDash([]);
    // Labels last, the best one on top.
    for (const [index, instance] of instances.reverse()) if (!instance.isDropped) this.label(instance, COLOURS[index % COLOURS.length], scale);
  }

  // Draws the points: + on the object, − outside.
  mark() {
    const context = this.context;
    const scale = this.canvas.width / (this.canvas.clientWidth || this.canvas.width);
    for (const { x, y, label } of this.points) {
      context.beginPath();
      context.arc(x, y, 9 * scale, 0, 2 * Math.PI);
      context.fillStyle = label ? "#0a7d32" : "#b3261e";
      context.fill();
      context.strokeStyle = "#fff";
      context.lineWidth = 2 * scale;
      context.stroke();
      context.beginPath();
      context.moveTo(x - 4 * scale, y);
      context.lineTo(x + 4 * scale, y);
      if (label) {
        context.moveTo(x, y - 4 * scale);
        context.lineTo(x, y + 4 * scale);
      }
      context.stroke();
    }
  }

  trace(polygons, colour, width) {
    const context = this.context;
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.lineJoin = "round";
    for (const points of polygons) {
      context.beginPath();
      for (let i = 0; i < points.length; i += 2) context.lineTo(points[i] + 0.5, points[i + 1] + 0.5);
      context.closePath();
      context.stroke();
    }
  }

  label(instance, colour, scale) {
    const context = this.context;
    const text = `${instance.label} ${instance.score.toFixed(2)}`;
    context.font = `600 ${LABEL_PIXELS * scale}px system-ui, sans-serif`;
    const [width, height] = [context.measureText(text).width + 12 * scale, 21 * scale];
    const [left, top] = instance.box;
    const x = Math.max(0, Math.min(left, this.canvas.width - width));
    const y = Math.max(0, top - height - 3 * scale);
    context.fillStyle = "rgb(0 0 0 / 80%)";
    context.beginPath();
    context.roundRect(x, y, width, height, 5 * scale);
    context.fill();
    context.fillStyle = colour;
    context.textBaseline = "middle";
    context.fillText(text, x + 6 * scale, y + height / 2 + scale / 2);
  }
}

// Converts the grey mask of the server to transparency, for compositing.
export async function readMask(png) {
  const bitmap = await createImageBitmap(png);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const image = context.getImageData(0, 0, canvas.width, canvas.height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < pixels.length; i++) pixels[i] = (pixels[i] & 255) > 127 ? 0xffffffff : 0;
  context.putImageData(image, 0, 0);
  return canvas;
}

export function cutOut(photo, mask) {
  const { canvas, context } = copy(mask);
  context.drawImage(photo, 0, 0);
  return canvas;
}

function paint(mask, colour) {
  const { canvas, context } = copy(mask);
  context.fillStyle = colour;
  context.fillRect(0, 0, canvas.width, canvas.height);
  return canvas;
}

// Returns a canvas on which the next drawing appears only inside the mask.
function copy(mask) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [mask.width, mask.height];
  const context = canvas.getContext("2d");
  context.drawImage(mask, 0, 0);
  context.globalCompositeOperation = "source-in";
  return { canvas, context };
}
