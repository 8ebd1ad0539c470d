// The page itself: what was set, what is asked of the server, what is shown.

import { examples } from "./examples.js";
import { History } from "./history.js";
import { Camera, readPhoto } from "./photo.js";
import { copy, save } from "./download.js";
import { askMask, askModels, key } from "./api.js";
import { COLOURS, readMask, Stage } from "./canvas.js";
import { describe, facts } from "./text.js";

const TYPING_MS = 350;
const KEYED_MS = 200; // where masks may cost credits, a slider that still moves asks for none
const SAMPLE = { url: "static/sample.jpg", prompt: "cup" };
const WORDS_TO_TRY = ["person", "cup", "dog", "cat", "chair", "car"];
const WORDS_SHOWN = 5;

const at = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));
const stage = new Stage(at.canvas);
const camera = new Camera(at.camera, at.video);
const history = new History(at.history, recall);

let photo = null;
let shown = null; // the last answer, and what it was asked with
let models = [];
let grpcPort = 0;
let timer = 0;
let running = null; // the question that the server works on: {subject, abort}
let isStale = false; // something was moved since it was asked

// ---- what is set

function wanted() {
  const given = { prompt: at.prompt.value.trim(), threshold: +at.threshold.value, grow_mask: +at.grow.value };
  if (at.exclude.value.trim()) given.exclude = at.exclude.value.trim();
  if (at.invert.checked) given.invert_mask = true;
  if (at.model.value && at.model.value !== models[0]?.name) given.model = at.model.value;
  return given;
}

// What one entry of the history is about; sliders and switches only vary it.
const subjectOf = (asked) => JSON.stringify([asked.prompt, asked.exclude, asked.model]);

function restore(asked) {
  at.prompt.value = asked.prompt;
  at.exclude.value = asked.exclude ?? "";
  at.threshold.value = asked.threshold;
  at.grow.value = asked.grow_mask;
  at.invert.checked = asked.invert_mask ?? false;
  at.model.value = asked.model ?? models[0]?.name ?? "";
}

// ---- asking

function ask(delay = 0) {
  tellSettings();
  clearTimeout(timer);
  if (!photo || !at.prompt.value.trim()) return;
  at.stage.setAttribute("aria-busy", "true");
  timer = setTimeout(askNow, delay);
}

// A question about something else is given up; one that only a slider has passed ends first, so that a mask is seen
// while it moves, however long the slider keeps moving.
function askNow() {
  const asked = wanted();
  const subject = { photo, text: subjectOf(asked) };
  if (running && running.subject.photo === photo && running.subject.text === subject.text) {
    isStale = true;
    return;
  }
  running?.abort.abort();
  isStale = false;
  const mine = (running = { subject, abort: new AbortController() });
  answer(photo, asked, mine)
    .catch((error) => fail(error, mine))
    .finally(() => settle(mine));
}

async function answer(subject, asked, mine) {
  const started = performance.now();
  const reply = await askMask(subject, asked, mine.abort.signal);
  const png = new Blob([Uint8Array.from(atob(reply.mask), (byte) => byte.charCodeAt(0))], { type: "image/png" });
  const result = { ...reply, png, mask: await readMask(png), asked, ms: performance.now() - started };
  if (running !== mine) return;
  show(subject, result);
  history.keep(subject, result, subjectOf(asked));
}

function fail(error, mine) {
  if (running !== mine || error.name === "AbortError") return;
  if (error.status !== 429) clear(); // a mask of something else must not stand beside the error
  tell(error.message, true);
  if (error.status === 401) wantKey(error.message);
  if (error.status === 429 && error.retryAfter <= 10) timer = setTimeout(askNow, 1000 * error.retryAfter);
}

function settle(mine) {
  if (running !== mine) return;
  running = null;
  if (isStale) askNow();
  else at.stage.setAttribute("aria-busy", "false");
}

// ---- showing

function view() {
  return { split: +at.compare.value, isCutout: at.cutout.checked, hasOutlines: at.outlines.checked };
}

function show(subject, result) {
  shown = { photo: subject, ...result };
  stage.show(subject, result, view());
  at.compare.hidden = at.handle.hidden = false;
  at.picture.classList.toggle("is-cutout", at.cutout.checked);
  at.canvas.setAttribute("aria-label", describe(result));
  tell([describe(result), ...result.warnings].join(" "));
  at.facts.textContent = facts(subject, result);
  listFound(result.instances);
  for (const button of document.querySelectorAll("[data-save]")) button.disabled = false;
}

function listFound(instances) {
  at.found.replaceChildren(
    ...instances.map(({ label, score }, index) => {
      const item = document.createElement("li");
      const dot = document.createElement("span");
      dot.style.background = COLOURS[index % COLOURS.length];
      item.append(dot, `${label} ${score.toFixed(2)}`);
      item.addEventListener("pointerenter", () => point(index));
      item.addEventListener("pointerleave", () => point(-1));
      return item;
    }),
  );
}

function point(index) {
  stage.chosen = index;
  stage.draw();
}

function tell(text, isError = false) {
  at.status.textContent = text;
  at.status.classList.toggle("error", isError);
}

function tellSettings() {
  at["threshold-value"].textContent = (+at.threshold.value).toFixed(2);
  at["grow-value"].textContent = `${at.grow.value} px`;
  at.picture.style.setProperty("--at", at.compare.value);
  tellExample();
}

function tellExample() {
  const language = document.querySelector("[name=language]:checked").value;
  const asked = wanted();
  at.example.textContent = examples[language]({
    photo: photo?.name ?? "photo.jpg",
    wanted: { ...asked, prompt: asked.prompt || "cup" },
    isCutout: at.cutout.checked,
    hasKey: key.get() !== "",
    base: new URL(".", document.baseURI).href,
    isSecure: location.protocol === "https:",
    grpc: `${location.hostname}:${grpcPort}`,
  });
}

// ---- photos

async function take(file, prompt) {
  if (!file) return;
  let read;
  try {
    read = await readPhoto(file);
  } catch (error) {
    tell(error.message, true);
    return;
  }
  if (prompt) at.prompt.value = prompt;
  look(read);
  ask();
  if (at.prompt.value.trim()) return;
  tell("The photo is there. What shall be masked?");
  at.prompt.focus();
}

function look(read) {
  running?.abort.abort();
  running = null;
  photo = read;
  at.welcome.hidden = true;
  at.picture.hidden = at.under.hidden = false;
  at.picture.style.setProperty("--ratio", read.canvas.width / read.canvas.height);
  at.stage.setAttribute("aria-busy", "false");
  clear();
}

function clear() {
  shown = null;
  at.compare.hidden = at.handle.hidden = true;
  at.canvas.setAttribute("aria-label", "The photo");
  at.picture.classList.remove("is-cutout");
  at.facts.textContent = "";
  tell("");
  listFound([]);
  for (const button of document.querySelectorAll("[data-save]")) button.disabled = true;
  stage.show(photo, null, view());
}

function recall({ photo: subject, result }) {
  clearTimeout(timer);
  look(subject);
  restore(result.asked);
  show(subject, result);
  tellSettings();
  at.stage.setAttribute("aria-busy", "false");
}

// ---- models and keys

async function loadModels() {
  try {
    const answer = await askModels();
    ({ models, grpc_port: grpcPort } = answer);
  } catch (error) {
    if (error.status === 401) wantKey(error.message);
    else tell(error.message, true);
    return;
  }
  at["key-form"].hidden = true;
  at.model.replaceChildren(...models.map(({ name }) => new Option(name)));
  chooseModel();
  tell("");
  ask();
}

function chooseModel() {
  const { description, device, vocabulary } = models.find(({ name }) => name === at.model.value);
  at["model-hint"].textContent = `${description} Runs on ${device}.`;
  at.words.replaceChildren(...vocabulary.map((word) => new Option(word)));
  const known = WORDS_TO_TRY.filter((word) => vocabulary.includes(word));
  const words = vocabulary.length && !known.length ? vocabulary : known;
  at.chips.replaceChildren(...words.slice(0, WORDS_SHOWN).map(chip));
}

function chip(word) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "chip";
  button.textContent = word;
  button.addEventListener("click", () => {
    at.prompt.value = word;
    ask();
  });
  return button;
}

function wantKey(message) {
  at["key-form"].hidden = false;
  tell(key.get() ? message : "", true); // the first time, the field says it all
  at.key.focus();
}

// ---- what buttons do

async function trySample() {
  const response = await fetch(SAMPLE.url);
  take(new File([await response.blob()], "coffee.jpg", { type: "image/jpeg" }), SAMPLE.prompt);
}

const DO = {
  choose: () => at.file.click(),
  camera: () => (Camera.isApp ? at.capture.click() : camera.open().catch((error) => tell(error.message, true))),
  shoot: async () => take(await camera.shoot()),
  close: () => at.camera.close(),
  sample: trySample,
  copy: async () => tell(await copy(at.example)),
};

// ---- wiring

document.addEventListener("click", ({ target }) => {
  const button = target.closest("button");
  if (button?.dataset.do) DO[button.dataset.do]();
  if (button?.dataset.save) save(button.dataset.save, shown);
});
for (const input of [at.prompt, at.exclude]) input.addEventListener("input", () => ask(TYPING_MS));
for (const input of [at.threshold, at.grow]) input.addEventListener("input", () => ask(key.get() ? KEYED_MS : 0));
at.invert.addEventListener("change", () => ask());
for (const input of [at.compare, at.cutout, at.outlines]) {
  input.addEventListener("input", () => {
    at.picture.classList.toggle("is-cutout", at.cutout.checked && shown !== null);
    stage.change(view());
    tellSettings();
  });
}
at.compare.addEventListener("pointermove", ({ buttons, offsetX }) => {
  if (!buttons) return;
  at.compare.value = (100 * offsetX) / at.compare.clientWidth; // Safari drags only what was hit
  at.compare.dispatchEvent(new Event("input"));
});
at.model.addEventListener("change", () => {
  chooseModel();
  ask();
});
at.panel.addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
at["key-form"].addEventListener("submit", (event) => {
  event.preventDefault();
  key.set(at.key.value.trim());
  at.key.value = "";
  loadModels();
});
for (const input of [at.file, at.capture]) {
  input.addEventListener("change", () => {
    take(input.files[0]);
    input.value = ""; // so that the same file can be chosen again
  });
}
for (const radio of document.querySelectorAll("[name=language]")) radio.addEventListener("change", tellExample);
document.addEventListener("paste", (event) => take(pictureIn(event.clipboardData)));
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
  take(event.dataTransfer.files[0]);
});

const pictureIn = (data) => [...data.files].find(({ type }) => type.startsWith("image/"));

tellSettings();
loadModels();
