// Questions to the server. Addresses are relative, so that the page also works behind a path of a proxy.

const STORED = "automask-key";

export class ServerError extends Error {
  constructor(message, status, retryAfter) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter; // seconds; NaN where the server did not say
  }
}

// Only for this tab: never in localStorage, never in a cookie.
export const key = {
  get: () => sessionStorage.getItem(STORED) ?? "",
  set: (text) => sessionStorage.setItem(STORED, text),
};

export const askModels = () => ask("playground/models", {});

export function askMask(photo, wanted, signal) {
  const body = new FormData();
  body.append("image", photo.file, photo.name);
  for (const [name, value] of Object.entries(wanted)) body.append(name, value);
  return ask("playground/mask", { method: "POST", body, signal });
}

async function ask(path, options) {
  const headers = key.get() ? { "x-api-key": key.get() } : {};
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("The server cannot be reached. Is it running?", 0, NaN);
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  const retryAfter = parseFloat(response.headers.get("retry-after"));
  throw new ServerError(answer.error ?? `The server answered ${response.status}.`, response.status, retryAfter);
}
