// Photos from a file, the clipboard or a camera, scaled down so that they can be sent at every move of a slider.

const MAX_SIZE = 2048; // pixels, longer side
const SENT_TYPES = new Set(["image/jpeg", "image/png", "image/webp"]); // other formats are converted to JPEG

export async function readPhoto(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new Error(`${file.name || "This file"} is not an image that this browser can read.`);
  }
  const original = { width: bitmap.width, height: bitmap.height };
  const scale = Math.min(1, MAX_SIZE / Math.max(bitmap.width, bitmap.height));
  const canvas = draw(bitmap, scale);
  bitmap.close();
  const isSent = scale === 1 && SENT_TYPES.has(file.type);
  return {
    file: isSent ? file : await encode(canvas, "image/jpeg", 0.92),
    name: isSent ? file.name || "photo" : (file.name || "photo").replace(/\.\w+$/, "") + ".jpg",
    canvas,
    original,
    source: file,
  };
}

// Returns the file of a photo in its own size, in a format that the server reads.
export async function fullFile({ source, name }) {
  if (SENT_TYPES.has(source.type)) return { file: source, name: source.name || name };
  const bitmap = await createImageBitmap(source, { imageOrientation: "from-image" });
  const file = await encode(draw(bitmap, 1), "image/jpeg", 0.95);
  bitmap.close();
  return { file, name };
}

function draw(bitmap, scale) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff"; // like the server, which puts transparent images on white
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas;
}

export const encode = (canvas, type, quality) => new Promise((done) => canvas.toBlob(done, type, quality));

export class Camera {
  constructor(dialog, video) {
    this.dialog = dialog;
    this.video = video;
    dialog.addEventListener("close", () => this.stop());
  }

  // Phones have a camera app, which takes better photos than a page.
  static get usesApp() {
    return matchMedia("(pointer: coarse)").matches || !navigator.mediaDevices;
  }

  async open() {
    this.dialog.showModal();
    try {
      this.video.srcObject = await navigator.mediaDevices.getUserMedia({
        video: { facingMode: "environment", width: { ideal: MAX_SIZE } },
      });
    } catch {
      this.dialog.close();
      throw new Error("No camera is available, or this page has no permission to use it.");
    }
    if (this.dialog.open) await this.video.play();
    else this.stop();
  }

  async shoot() {
    const canvas = document.createElement("canvas");
    canvas.width = this.video.videoWidth;
    canvas.height = this.video.videoHeight;
    if (!canvas.width) return null; // not started yet
    canvas.getContext("2d").drawImage(this.video, 0, 0);
    this.dialog.close();
    return new File([await encode(canvas, "image/jpeg", 0.95)], "camera.jpg", { type: "image/jpeg" });
  }

  stop() {
    for (const track of this.video.srcObject?.getTracks() ?? []) track.stop();
    this.video.srcObject = null;
  }
}
