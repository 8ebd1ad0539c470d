// Descriptions of a result.

export function describe({ is_empty, instances, labels, fields }) {
  if (is_empty && fields.drop) return "All objects are left out. Click one to keep it.";
  if (is_empty) return `No ${labels.join(" or ") || fields.prompt || "object"} was found. A lower threshold may help.`;
  const counts = new Map();
  for (const { label } of instances) counts.set(label, (counts.get(label) ?? 0) + 1);
  const things = [...counts].map(([label, count]) => `${label}${count > 1 ? ` × ${count}` : ""}`).join(", ");
  const text = things || fields.prompt || "object";
  const more = (fields.exclude ? `, ${fields.exclude} left out` : "") + (fields.invert_mask ? ", inverted" : "");
  return `${text[0].toUpperCase()}${text.slice(1)} masked${more}.`;
}

// Returns the message of an error for this page: without what only a shell could do.
export function explain({ message, reason }) {
  const text = message
    .replaceAll(/\s*\(`automask [^`]*`\)/g, "")
    .replaceAll(/ at this `automask [^`]*`/g, " of this server")
    .split(/(?<=[.?!;])\s+/)
    .filter((part) => !part.includes("`automask "))
    .join(" ")
    .replace(/;$/, ".");
  return reason === "UNKNOWN_PROMPT" ? `${text} Choose a word below the prompt, or mark the object in the photo.` : text;
}

export function facts({ original }, { width, height, timings, ms, device }) {
  const size = `${width} × ${height}`;
  const full = `${original.width} × ${original.height}`;
  const scaled = original.width === width ? size : `${size}, from ${full}; downloads have ${full}`;
  return `${scaled} · ${Math.round(ms)} ms, ${Math.round(timings.inference_ms)} of them on the server (${device})`;
}
