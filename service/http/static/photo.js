// Photos: from a file, the clipboard or a camera, made small enough to be sent at every move of a slider.

const MOST = 2048; // pixels on the longer side
const SENT = new Set(["image/jpeg", "image/png", "image/webp"]); // others are drawn again, as the browser can read more

export async function readPhoto(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new Error(`${file.name || "This"} is not a picture that this browser can read.`);
  }
  const original = { width: bitmap.width, height: bitmap.height };
  const scale = Math.min(1, MOST / Math.max(bitmap.width, bitmap.height));
  const canvas = draw(bitmap, scale);
  bitmap.close();
  const isSent = scale === 1 && SENT.has(file.type);
  return {
    file: isSent ? file : await encode(canvas, "image/jpeg", 0.92),
    name: isSent ? file.name || "photo" : (file.name || "photo").replace(/\.\w+$/, "") + ".jpg",
    canvas,
    original,
  };
}

function draw(bitmap, scale) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff"; // the server lays what is transparent over white, too
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

  // Phones have an app for it, which takes better photos than a page does.
  static get isApp() {
    return matchMedia("(pointer: coarse)").matches || !navigator.mediaDevices;
  }

  async open() {
    this.dialog.showModal();
    try {
      this.video.srcObject = await navigator.mediaDevices.getUserMedia({
        video: { facingMode: "environment", width: { ideal: MOST } },
      });
    } catch {
      this.dialog.close();
      throw new Error("The camera cannot be used: there is none, or this page may not use it.");
    }
    if (this.dialog.open) await this.video.play();
    else this.stop();
  }

  async shoot() {
    const canvas = document.createElement("canvas");
    canvas.width = this.video.videoWidth;
    canvas.height = this.video.videoHeight;
    if (!canvas.width) return null; // it has not begun yet
    canvas.getContext("2d").drawImage(this.video, 0, 0);
    this.dialog.close();
    return new File([await encode(canvas, "image/jpeg", 0.95)], "camera.jpg", { type: "image/jpeg" });
  }

  stop() {
    for (const track of this.video.srcObject?.getTracks() ?? []) track.stop();
    this.video.srcObject = null;
  }
}
