// What was masked in this session, as thumbnails; nothing of it outlives the page.

const MOST = 24;
const SIZE = 144; // pixels of a thumbnail, on its longer side

export class History {
  constructor(list, recall) {
    this.list = list;
    this.recall = recall;
    this.entries = []; // the newest first
  }

  // The same photo and words again only change what their entry shows.
  keep(photo, result, subject) {
    let entry = this.entries.find((one) => one.photo === photo && one.subject === subject);
    if (!entry) {
      entry = { photo, subject, ...this.build(() => this.recall(entry)) };
      this.entries.unshift(entry);
      this.list.prepend(entry.item);
      while (this.entries.length > MOST) this.entries.pop().item.remove();
    }
    entry.result = result;
    entry.caption.textContent = result.asked.prompt;
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

// The photo, bright only where it is masked.
function paint(canvas, photo, mask) {
  const scale = SIZE / Math.max(photo.width, photo.height);
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
