// The page: form, requests and display.

import { examples } from "./examples.js";
import { History } from "./history.js";
import { Camera, readPhoto } from "./photo.js";
import { copy, save } from "./download.js";
import { fetchMask, fetchModels, fetchObjects, key } from "./api.js";
import { readMask, Stage } from "./canvas.js";
import { listFound } from "./found.js";
import { recall, rememberForm, rememberPhoto } from "./memory.js";
import { inFullSize, objectAt, Selection } from "./selection.js";
import { describe, explain, facts } from "./text.js";

const TYPING_DELAY = 350; // ms
const SLIDER_DELAY = 200; // ms with an API key: masks may cost credits, so none is requested while a slider moves
const SAMPLE = { url: "static/sample.jpg", prompt: "cup" };
const EXAMPLES = ["person", "cup", "dog", "cat", "chair", "car"];
const MAX_EXAMPLES = 5;
const MAX_SUGGESTIONS = 8;
const SLOP = 5; // CSS pixels that a click may move
const HANDLE = 24; // CSS pixels around the before/after handle that belong to it

const at = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));
const stage = new Stage(at.canvas);
const camera = new Camera(at.camera, at.video);
const history = new History(at.history, restoreEntry);

let photo = null;
let shown = null; // the displayed result with its photo
let models = [];
let grpcPort = 0;
let timer = 0;
let running = null; // the running request: {photo, subject, abort}
let isStale = false; // whether the form changed since that request was sent
let suggested = null; // the photo whose objects are suggested
let subject = ""; // what the selection belongs to
let press = null; // where and when the picture was pressed
const selection = new Selection();

// ---- form

function readForm() {
  const isSoft = at.soft.checked; // a grown mask would cover the soft edge
  const fields = { prompt: at.prompt.value.trim(), threshold: +at.threshold.value, grow_mask: isSoft ? 0 : +at.grow.value };
  if (isSoft) fields.alpha = "soft";
  if (at.edges.value !== "fast") fields.edges = at.edges.value;
  if (at.exclude.value.trim()) fields.exclude = at.exclude.value.trim();
  if (at.invert.checked) fields.invert_mask = true;
  if (at.model.value && at.model.value !== models[0]?.name) fields.model = at.model.value;
  return { ...fields, ...selection.fields };
}

// The history has one entry for each subject; sliders and switches only vary it.
const subjectOf = ({ prompt, exclude, model }) => JSON.stringify([prompt, exclude, model]);

function fillForm(fields) {
  at.prompt.value = fields.prompt;
  at.exclude.value = fields.exclude ?? "";
  at.threshold.value = fields.threshold;
  at.soft.checked = fields.alpha === "soft";
  if (!at.soft.checked) at.grow.value = fields.grow_mask;
  at.edges.value = fields.edges ?? "fast";
  at.invert.checked = fields.invert_mask ?? false;
  at.model.value = fields.model ?? models[0]?.name ?? "";
}

// ---- requests

function update(delay = 0) {
  const fields = readForm();
  if (subject && subjectOf(fields) !== subject) selection.clear(); // its indices and points belong to other objects
  subject = subjectOf(fields);
  showSettings();
  rememberForm(fields);
  clearTimeout(timer);
  if (!photo) return;
  if (!fields.prompt && !selection.marksObject) {
    stop();
    clear();
    return;
  }
  at.stage.setAttribute("aria-busy", "true");
  timer = setTimeout(send, delay);
}

function stop() {
  running?.abort.abort();
  running = null;
  at.stage.setAttribute("aria-busy", "false");
}

// Aborts a running request about another subject. A request about the same subject finishes first, so that masks appear
// while a slider moves.
function send() {
  const fields = readForm();
  const subject = subjectOf(fields);
  if (running && running.photo === photo && running.subject === subject) {
    isStale = true;
    return;
  }
  running?.abort.abort();
  isStale = false;
  const request = (running = { photo, subject, abort: new AbortController() });
  receive(request, fields)
    .catch((error) => fail(error, request))
    .finally(() => settle(request));
}

async function receive(request, fields) {
  const started = performance.now();
  const response = await fetchMask(request.photo, fields, request.abort.signal);
  const [png, cutout] = [toBlob(response.mask), response.cutout && toBlob(response.cutout)];
  const picture = cutout && (await createImageBitmap(cutout));
  const result = { ...response, png, cutout, picture, mask: await readMask(png), fields, ms: performance.now() - started };
  if (running !== request) return;
  show(request.photo, result);
  result.selection = selection.copy();
  history.add(request.photo, result, request.subject);
}

function fail(error, request) {
  if (running !== request || error.name === "AbortError") return;
  if (error.status !== 429) clear(); // an old mask must not be shown with the error
  showStatus(explain(error), true);
  if (error.status === 401) showKeyForm(error.message);
  if (error.status === 429 && error.retryAfter <= 10) timer = setTimeout(send, 1000 * error.retryAfter);
}

function settle(request) {
  if (running !== request) return;
  running = null;
  if (isStale) {
    send();
    return;
  }
  at.stage.setAttribute("aria-busy", "false");
  if (suggested !== photo) suggest(photo); // after the mask, which it would slow down
}

// ---- display

function view() {
  return { split: +at.compare.value, isCutout: at.cutout.checked, hasOutlines: at.outlines.checked };
}

function show(source, result) {
  const objects = selection.read(result);
  shown = { photo: source, ...result, objects };
  stage.show(source, result, view(), objects, selection.points);
  at.compare.hidden = at.handle.hidden = false;
  at.picture.classList.toggle("is-cutout", at.cutout.checked);
  at.canvas.setAttribute("aria-label", describe(result));
  showStatus([describe(result), ...result.warnings].join(" "));
  at.facts.textContent = facts(source, result);
  listObjects(objects);
  for (const button of document.querySelectorAll("[data-save]")) button.disabled = false;
}

function listObjects(objects) {
  listFound(at.found, objects, selection.points.length, { toggle, clearPoints, select });
}

function toggle(index) {
  selection.toggle(index);
  update();
}

function clearPoints() {
  selection.points = [];
  update();
}

// A click keeps or drops the object under it; with Shift it adds a point, with Alt it takes away.
function clickPicture({ offsetX, offsetY, shiftKey, altKey }) {
  const reach = at.canvas.width / at.compare.clientWidth;
  const [x, y] = [offsetX * reach, (offsetY * at.canvas.height) / at.compare.clientHeight];
  const tool = shiftKey ? "add" : altKey ? "remove" : document.querySelector("[name=tool]:checked").value;
  if (tool === "pick") {
    const object = objectAt((shown?.objects ?? []).filter(({ index }) => index >= 0), x, y);
    if (object) toggle(object.index);
    return;
  }
  selection.mark(x, y, tool === "add" ? 1 : 0, reach);
  stage.points = selection.points;
  stage.draw();
  update();
}

function select(index) {
  stage.selected = index;
  stage.draw();
}

function showStatus(text, isError = false) {
  at.status.textContent = text;
  at.status.classList.toggle("error", isError);
}

function showSettings() {
  at["threshold-value"].textContent = (+at.threshold.value).toFixed(2);
  at.grow.disabled = at.soft.checked;
  at["grow-value"].textContent = `${readForm().grow_mask} px`;
  at.picture.style.setProperty("--at", at.compare.value);
  showExample();
}

function showExample() {
  const language = document.querySelector("[name=language]:checked").value;
  const fields = photo ? inFullSize(readForm(), photo) : readForm();
  at.example.textContent = examples[language]({
    photo: photo?.name ?? "photo.jpg",
    fields: { ...fields, prompt: fields.prompt || (selection.marksObject ? "" : "cup") },
    isCutout: at.cutout.checked,
    hasKey: key.get() !== "",
    base: new URL(".", document.baseURI).href,
    isSecure: location.protocol === "https:",
    grpc: `${location.hostname}:${grpcPort}`,
  });
}

// ---- photos

async function loadPhoto(file, prompt) {
  if (!file) return;
  let read;
  try {
    read = await readPhoto(file);
  } catch (error) {
    showStatus(error.message, true);
    return;
  }
  if (prompt) at.prompt.value = prompt;
  setPhoto(read);
  rememberPhoto(file, readForm());
  update();
  if (at.prompt.value.trim()) return;
  suggest(read);
  showStatus("Photo loaded. What should be masked?");
  at.prompt.focus();
}

function setPhoto(read) {
  stop();
  selection.clear();
  photo = read;
  at.welcome.hidden = true;
  at.picture.hidden = at.under.hidden = at["tool-hint"].hidden = false;
  at.picture.style.setProperty("--ratio", read.canvas.width / read.canvas.height);
  clear();
}

function clear() {
  shown = null;
  at.compare.hidden = !photo; // it takes the clicks of the picture
  at.handle.hidden = true;
  at.canvas.setAttribute("aria-label", "The photo");
  at.picture.classList.remove("is-cutout");
  at.facts.textContent = "";
  showStatus("");
  listObjects([]);
  for (const button of document.querySelectorAll("[data-save]")) button.disabled = true;
  if (photo) stage.show(photo, null, view(), [], selection.points);
}

function restoreEntry({ photo: source, result }) {
  clearTimeout(timer);
  setPhoto(source);
  fillForm(result.fields);
  selection.restore(result.selection);
  subject = subjectOf(result.fields);
  rememberPhoto(source.source, result.fields);
  show(source, result);
  showSettings();
  at.stage.setAttribute("aria-busy", "false");
}

// ---- models and keys

async function loadModels() {
  try {
    ({ models, grpc_port: grpcPort } = await fetchModels());
  } catch (error) {
    if (error.status === 401) showKeyForm(error.message);
    else showStatus(error.message, true);
    return;
  }
  at["key-form"].hidden = true;
  at.model.replaceChildren(...models.map(({ name }) => new Option(name)));
  chooseModel();
  showStatus("");
  const kept = photo ? null : await recall();
  if (kept) {
    await loadPhoto(kept.file);
    fillForm(kept.fields);
  }
  update();
}

function chooseModel() {
  const { description, device, vocabulary } = models.find(({ name }) => name === at.model.value);
  at["model-hint"].textContent = `${description} Runs on ${device}.`;
  at.words.replaceChildren(...vocabulary.map((word) => new Option(word)));
  suggest(photo);
}

// Shows words below the prompt: what the model finds in the photo, else examples.
async function suggest(source) {
  const model = at.model.value;
  const { vocabulary } = models.find(({ name }) => name === model) ?? { vocabulary: [] };
  at.chips.setAttribute("aria-label", "Examples");
  const known = EXAMPLES.filter((word) => vocabulary.includes(word));
  const words = vocabulary.length && !known.length ? vocabulary : known;
  at.chips.replaceChildren(...words.slice(0, MAX_EXAMPLES).map(chip));
  suggested = source;
  if (!source || !vocabulary.length) return;
  const { objects } = await fetchObjects(source, model).catch(() => ({ objects: [] }));
  if (photo !== source || at.model.value !== model || !objects.length) return;
  at.chips.setAttribute("aria-label", "Found in this photo");
  at.chips.replaceChildren(...objects.slice(0, MAX_SUGGESTIONS).map(({ label }) => chip(label)));
}

function chip(word) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "chip";
  button.textContent = word;
  button.addEventListener("click", () => {
    at.prompt.value = word;
    update();
  });
  return button;
}

function showKeyForm(message) {
  at["key-form"].hidden = false;
  showStatus(key.get() ? message : "", true); // at first, the label of the field is enough
  at.key.focus();
}

// ---- buttons

async function trySample() {
  const response = await fetch(SAMPLE.url);
  loadPhoto(new File([await response.blob()], "coffee.jpg", { type: "image/jpeg" }), SAMPLE.prompt);
}

async function download(button) {
  const { original, canvas } = shown.photo;
  const isScaled = original.width !== canvas.width;
  if (isScaled) showStatus(`Masking the photo in its own size, ${original.width} × ${original.height} …`);
  button.disabled = true;
  try {
    await save(button.dataset.save, shown);
    if (isScaled) showStatus(`Saved in the photo's own size, ${original.width} × ${original.height}.`);
  } catch (error) {
    showStatus(explain(error), true);
  }
  button.disabled = false;
}

const ACTIONS = {
  choose: () => at.file.click(),
  camera: () => (Camera.usesApp ? at.capture.click() : camera.open().catch((error) => showStatus(error.message, true))),
  shoot: async () => loadPhoto(await camera.shoot()),
  close: () => at.camera.close(),
  sample: trySample,
  copy: async () => showStatus(await copy(at.example)),
};

// ---- events

document.addEventListener("click", ({ target }) => {
  const button = target.closest("button");
  if (button?.dataset.do) ACTIONS[button.dataset.do]();
  if (button?.dataset.save) download(button);
});
for (const input of [at.prompt, at.exclude]) input.addEventListener("input", () => update(TYPING_DELAY));
for (const input of [at.threshold, at.grow]) input.addEventListener("input", () => update(key.get() ? SLIDER_DELAY : 0));
at.threshold.addEventListener("input", () => selection.dropped.clear()); // another threshold finds other objects
for (const input of [at.invert, at.edges, at.soft]) input.addEventListener("change", () => update());
at.soft.addEventListener("change", () => at.cutout.checked !== at.soft.checked && at.cutout.click());
for (const input of [at.compare, at.cutout, at.outlines]) {
  input.addEventListener("input", () => {
    at.picture.classList.toggle("is-cutout", at.cutout.checked && shown !== null);
    stage.change(view());
    showSettings();
  });
}
at.compare.addEventListener("pointerdown", (event) => {
  const { offsetX, clientX, clientY } = event;
  const handle = (at.compare.value / 100) * at.compare.clientWidth;
  press = { x: clientX, y: clientY, value: at.compare.value, isHandle: Math.abs(offsetX - handle) < HANDLE && shown !== null };
});
at.compare.addEventListener("mousedown", (event) => {
  if (!press?.isHandle) event.preventDefault(); // a click on an object must not move the slider there
});
at.compare.addEventListener("click", (event) => {
  if (!press || press.isHandle || hasMoved(event)) return;
  at.compare.value = press.value;
  at.compare.dispatchEvent(new Event("input"));
  clickPicture(event);
});
at.compare.addEventListener("pointermove", (event) => {
  const { buttons, offsetX } = event;
  if (!buttons || !press || !hasMoved(event) || !shown) return;
  at.compare.value = (100 * offsetX) / at.compare.clientWidth; // Safari drags only the thumb
  at.compare.dispatchEvent(new Event("input"));
});
at.model.addEventListener("change", () => {
  chooseModel();
  update();
});
at.panel.addEventListener("submit", (event) => {
  event.preventDefault();
  update();
});
at["key-form"].addEventListener("submit", (event) => {
  event.preventDefault();
  key.set(at.key.value.trim());
  at.key.value = "";
  loadModels();
});
for (const input of [at.file, at.capture]) {
  input.addEventListener("change", () => {
    loadPhoto(input.files[0]);
    input.value = ""; // lets the same file be chosen again
  });
}
for (const radio of document.querySelectorAll("[name=language]")) radio.addEventListener("change", showExample);
document.addEventListener("paste", (event) => loadPhoto(pictureIn(event.clipboardData)));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  at.stage.classList.add("is-over");
});
document.addEventListener("dragleave", ({ relatedTarget }) => {
  if (!relatedTarget) at.stage.classList.remove("is-over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  at.stage.classList.remove("is-over");
  loadPhoto(event.dataTransfer.files[0]);
});

const toBlob = (text) => new Blob([Uint8Array.from(atob(text), (byte) => byte.charCodeAt(0))], { type: "image/png" });
const hasMoved = ({ clientX, clientY }) => Math.hypot(clientX - press.x, clientY - press.y) > SLOP;
const pictureIn = (data) => [...data.files].find(({ type }) => type.startsWith("image/"));

showSettings();
loadModels();
