// Calls of the server. URLs are relative, so that the page also works below a path of a proxy.

const STORAGE_KEY = "automask-key";

export class ServerError extends Error {
  constructor(message, status, retryAfter, reason = "") {
    super(message);
    this.status = status;
    this.reason = reason; // as in docs/service.md
    this.retryAfter = retryAfter; // seconds; NaN if unknown
  }
}

// Kept only in this tab: not in localStorage, not in a cookie.
export const key = {
  get: () => sessionStorage.getItem(STORAGE_KEY) ?? "",
  set: (text) => sessionStorage.setItem(STORAGE_KEY, text),
};

export const fetchModels = () => call("playground/models", {});

export const fetchMask = ({ file, name }, fields, signal) => call("playground/mask", post(file, name, fields, signal));

export const fetchObjects = ({ file, name }, model) => call("playground/objects", post(file, name, { model }));

// Returns a picture as the hosted API does: a blob.
export async function fetchPicture(file, name, fields) {
  const response = await request("v1/automatic-mask-generator", post(file, name, fields));
  return response.blob();
}

function post(file, name, fields, signal) {
  const body = new FormData();
  body.append("image", file, name);
  for (const [field, value] of Object.entries(fields)) body.append(field, value);
  return { method: "POST", body, signal };
}

const call = async (path, options) => (await request(path, options)).json();

async function request(path, options) {
  const headers = key.get() ? { "x-api-key": key.get() } : {};
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("The server cannot be reached. Is it running?", 0, NaN);
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  const retryAfter = parseFloat(response.headers.get("retry-after"));
  const message = body.error ?? `The server responded with status ${response.status}.`;
  throw new ServerError(message, response.status, retryAfter, body.reason);
}
