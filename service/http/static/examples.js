// The request of the page as code.

const SERVICE = "automask.v1.MaskService/Generate";
const KEY = "AUTOMASK_API_KEY"; // the Python client reads it from there

// Texts may contain any character, so they are quoted for the language.
export const examples = { curl, python, grpc };

function curl({ photo, fields, isCutout, hasKey, base }) {
  const lines = [`curl --fail-with-body ${quote(`${base}v1/automatic-mask-generator`)}`];
  if (hasKey) lines.push(`-H "x-api-key: $${KEY}"`);
  lines.push(`-F ${quote(`image=@"${photo.replaceAll(/[\\"]/g, "\\$&")}"`)}`);
  // -F would read a prompt that starts with @ as a file name.
  for (const [name, value] of Object.entries(fields)) if (value !== "") lines.push(`--form-string ${quote(`${name}=${value}`)}`);
  if (isCutout) lines.push("--form-string return_alpha=true");
  lines.push(`-o ${isCutout ? "cutout.png" : "mask.png"}`);
  return lines.join(" \\\n  ");
}

function python({ photo, fields, isCutout, hasKey, isSecure, grpc }) {
  const prompt = fields.prompt ? JSON.stringify(fields.prompt) : "None";
  const options = [`threshold=${fields.threshold}`, `grow_mask=${fields.grow_mask}`];
  if (fields.invert_mask) options.push("invert_mask=True");
  if (isCutout) options.push("return_alpha=True");
  for (const name of ["edges", "alpha"]) if (fields[name]) options.push(`${name}="${fields[name]}"`);
  if (fields.points) options.push(`points=[${points(fields).map((point) => `(${point.join(", ")})`).join(", ")}]`);
  if (fields.drop) options.push(`drop=[${fields.drop.replaceAll(",", ", ")}]`);
  if (fields.exclude) options.push(`exclude=${JSON.stringify(fields.exclude)}`);
  if (fields.model) options.push(`model=${JSON.stringify(fields.model)}`);
  return `from automask.service import Client  # pip install 'automask[cpu,service]'

with Client(${JSON.stringify(grpc)}${isSecure ? ', ca="ca.pem"' : ""}) as client:${hasKey ? `  # API key: environment variable ${KEY}` : ""}
    result = client.mask(
        ${JSON.stringify(photo)},
        ${prompt},
        ${options.join(",\n        ")},
    )
    result.save("${isCutout ? "cutout.png" : "mask.png"}")
    print(result.labels, [(one.label, one.score) for one in result.instances])
`;
}

function grpc({ photo, fields, isCutout, hasKey, isSecure, grpc }) {
  const parameters = { threshold: fields.threshold, growMask: fields.grow_mask };
  if (fields.invert_mask) parameters.invertMask = true;
  if (isCutout) parameters.returnAlpha = true;
  if (fields.edges) parameters.edges = `EDGES_${fields.edges.toUpperCase()}`;
  if (fields.alpha) parameters.alpha = `ALPHA_${fields.alpha.toUpperCase()}`;
  const task = { image: { encoded: "PHOTO" }, prompts: fields.prompt ? [fields.prompt] : [] };
  if (fields.points) task.points = points(fields).map(([x, y, label]) => ({ x, y, negative: label === 0 }));
  if (fields.drop) task.drop = fields.drop.split(",").map(Number);
  if (fields.exclude) task.exclude = [fields.exclude];
  if (fields.model) task.model = fields.model;
  const [before, after] = JSON.stringify({ task: { ...task, parameters } }).split(/(?<="encoded":")PHOTO/);
  return `{ printf %s ${quote(before)}
  base64 < ${quote(photo)} | tr -d '\\n'
  printf %s ${quote(after)}
} |
grpcurl ${isSecure ? "-cacert ca.pem" : "-plaintext"} -max-msg-sz 67108864 ${hasKey ? `-H "x-api-key: $${KEY}" ` : ""}-d @ \\
  ${quote(grpc)} ${SERVICE} |
jq -r '.response.results[0].media[0].data' | base64 -d > ${isCutout ? "cutout.png" : "mask.png"}
`;
}

const points = (fields) => fields.points.split(";").map((point) => point.split(",").map(Number));

// For a POSIX shell.
function quote(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
