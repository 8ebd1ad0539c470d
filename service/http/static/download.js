// Downloads, and the clipboard.

import { encode } from "./photo.js";
import { cutOut } from "./canvas.js";

const FILES = {
  mask: async ({ png }) => [png, "mask.png"],
  cutout: async ({ photo, mask }) => [await encode(cutOut(photo.canvas, mask), "image/png"), "cutout.png"],
  rle: async ({ rle }) => [new Blob([JSON.stringify(rle)], { type: "application/json" }), "rle.json"],
};

export async function save(kind, shown) {
  const [blob, ending] = await FILES[kind](shown);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  const stem = `${shown.photo.name.replace(/\.\w+$/, "")}-${shown.fields.prompt}`.replaceAll(/[^\p{L}\p{N}]+/gu, "-");
  link.download = `${stem}-${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// Returns the message to show.
export async function copy(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    return "Copied.";
  } catch {
    getSelection().selectAllChildren(element); // without TLS, pages have no clipboard
    return "The browser does not allow copying. The code is selected: press Ctrl+C.";
  }
}
