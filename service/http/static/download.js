// Downloads, in the size of the photo itself, and the clipboard.

import { fetchMask, fetchPicture } from "./api.js";
import { encode, fullFile } from "./photo.js";
import { cutOut } from "./canvas.js";
import { inFullSize } from "./selection.js";

// Of a photo that was sent as it is: nothing is computed again.
const FILES = {
  mask: async ({ png }) => png,
  cutout: async ({ photo, mask, cutout }) => cutout ?? encode(cutOut(photo.canvas, mask), "image/png"),
  rle: async ({ rle }) => json(rle),
};

// Of a photo that was scaled down: the server masks the original.
const FULL_FILES = {
  mask: ({ file, name }, fields) => fetchPicture(file, name, fields),
  cutout: ({ file, name }, fields) => fetchPicture(file, name, { ...fields, return_alpha: true }),
  rle: async (photo, fields) => json((await fetchMask(photo, fields)).rle),
};

const ENDINGS = { mask: "mask.png", cutout: "cutout.png", rle: "rle.json" };

const json = (value) => new Blob([JSON.stringify(value)], { type: "application/json" });

export async function save(kind, shown) {
  const { photo, fields } = shown;
  const isScaled = photo.original.width !== photo.canvas.width;
  const blob = isScaled
    ? await FULL_FILES[kind](await fullFile(photo), inFullSize(fields, photo))
    : await FILES[kind](shown);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  const stem = `${photo.name.replace(/\.\w+$/, "")}-${fields.prompt || "object"}`.replaceAll(/[^\p{L}\p{N}]+/gu, "-");
  link.download = `${stem}-${ENDINGS[kind]}`;
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
