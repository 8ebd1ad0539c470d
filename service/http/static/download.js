// What leaves the page.

import { encode } from "./photo.js";
import { cutOut } from "./canvas.js";

const MAKE = {
  mask: async ({ png }) => [png, "mask.png"],
  cutout: async ({ photo, mask }) => [await encode(cutOut(photo.canvas, mask), "image/png"), "cutout.png"],
  rle: async ({ rle }) => [new Blob([JSON.stringify(rle)], { type: "application/json" }), "rle.json"],
};

export async function save(kind, shown) {
  const [blob, ending] = await MAKE[kind](shown);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  const stem = `${shown.photo.name.replace(/\.\w+$/, "")}-${shown.asked.prompt}`.replaceAll(/[^\p{L}\p{N}]+/gu, "-");
  link.download = `${stem}-${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// Gives what to tell.
export async function copy(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    return "Copied.";
  } catch {
    getSelection().selectAllChildren(element); // pages without TLS have no clipboard
    return "This browser does not let the page copy: the code is selected, press Ctrl+C.";
  }
}
