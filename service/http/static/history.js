// Thumbnails of the masks of this session, kept only while the page is open.

const MAX_ENTRIES = 24;
const THUMBNAIL_SIZE = 144; // pixels, longer side

export class History {
  constructor(list, onSelect) {
    this.list = list;
    this.onSelect = onSelect;
    this.entries = []; // newest first
  }

  // The same photo and words update their entry.
  add(photo, result, subject) {
    let entry = this.entries.find((one) => one.photo === photo && one.subject === subject);
    if (!entry) {
      entry = { photo, subject, ...this.build(() => this.onSelect(entry)) };
      this.entries.unshift(entry);
      this.list.prepend(entry.item);
      while (this.entries.length > MAX_ENTRIES) this.entries.pop().item.remove();
    }
    entry.result = result;
    entry.caption.textContent = result.fields.prompt;
    paint(entry.canvas, photo.canvas, result.mask);
    this.list.parentElement.hidden = false;
  }

  build(onclick) {
    const [item, button, canvas, caption] = ["li", "button", "canvas", "span"].map((tag) => document.createElement(tag));
    button.type = "button";
    button.append(canvas, caption);
    button.addEventListener("click", onclick);
    item.append(button);
    return { item, canvas, caption };
  }
}

// Draws the photo, dimmed outside the mask.
function paint(canvas, photo, mask) {
  const scale = THUMBNAIL_SIZE / Math.max(photo.width, photo.height);
  canvas.width = Math.max(1, Math.round(photo.width * scale));
  canvas.height = Math.max(1, Math.round(photo.height * scale));
  const context = canvas.getContext("2d");
  context.drawImage(mask, 0, 0, canvas.width, canvas.height);
  context.globalCompositeOperation = "source-in";
  context.drawImage(photo, 0, 0, canvas.width, canvas.height);
  context.globalCompositeOperation = "destination-over";
  context.globalAlpha = 0.35;
  context.drawImage(photo, 0, 0, canvas.width, canvas.height);
}
