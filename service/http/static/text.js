// Descriptions of a result.

export function describe({ is_empty, instances, labels, fields }) {
  if (is_empty) return `No ${labels.join(" or ") || fields.prompt} was found. A lower threshold may help.`;
  const counts = new Map();
  for (const { label } of instances) counts.set(label, (counts.get(label) ?? 0) + 1);
  const things = [...counts].map(([label, count]) => `${label}${count > 1 ? ` × ${count}` : ""}`).join(", ");
  const text = things || fields.prompt;
  const more = (fields.exclude ? `, ${fields.exclude} left out` : "") + (fields.invert_mask ? ", inverted" : "");
  return `${text[0].toUpperCase()}${text.slice(1)} masked${more}.`;
}

export function facts({ original }, { width, height, timings, ms, device }) {
  const size = `${width} × ${height}`;
  const scaled = original.width === width ? size : `${size}, from ${original.width} × ${original.height}`;
  return `${scaled} · ${Math.round(ms)} ms, ${Math.round(timings.inference_ms)} of them on the server (${device})`;
}
