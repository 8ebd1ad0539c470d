// Calls of the server. URLs are relative, so that the page also works below a path of a proxy.

const STORAGE_KEY = "automask-key";

export class ServerError extends Error {
  constructor(message, status, retryAfter) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter; // seconds; NaN if unknown
  }
}

// Kept only in this tab: not in localStorage, not in a cookie.
export const key = {
  get: () => sessionStorage.getItem(STORAGE_KEY) ?? "",
  set: (text) => sessionStorage.setItem(STORAGE_KEY, text),
};

export const fetchModels = () => call("playground/models", {});

export function fetchMask(photo, fields, signal) {
  const body = new FormData();
  body.append("image", photo.file, photo.name);
  for (const [name, value] of Object.entries(fields)) body.append(name, value);
  return call("playground/mask", { method: "POST", body, signal });
}

async function call(path, options) {
  const headers = key.get() ? { "x-api-key": key.get() } : {};
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("The server cannot be reached. Is it running?", 0, NaN);
  }
  const body = await response.json().catch(() => ({}));
  if (response.ok) return body;
  const retryAfter = parseFloat(response.headers.get("retry-after"));
  throw new ServerError(body.error ?? `The server responded with status ${response.status}.`, response.status, retryAfter);
}
