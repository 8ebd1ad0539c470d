// What is set on the page, as code that asks the same.

const SERVICE = "automask.v1.MaskService/Generate";
const KEY = "AUTOMASK_API_KEY"; // Python's client reads it by itself

// Each is given the same, and any text in it may hold anything: it is quoted for where it stands.
export const examples = { curl, python, grpc };

function curl({ photo, wanted, isCutout, hasKey, base }) {
  const lines = [`curl --fail-with-body ${quote(`${base}v1/automatic-mask-generator`)}`];
  if (hasKey) lines.push(`-H "x-api-key: $${KEY}"`);
  lines.push(`-F ${quote(`image=@"${photo.replaceAll(/[\\"]/g, "\\$&")}"`)}`);
  // A plain -F would take a prompt that begins with @ for the name of a file.
  for (const [name, value] of Object.entries(wanted)) lines.push(`--form-string ${quote(`${name}=${value}`)}`);
  if (isCutout) lines.push("--form-string return_alpha=true");
  lines.push(`-o ${isCutout ? "cutout.png" : "mask.png"}`);
  return lines.join(" \\\n  ");
}

function python({ photo, wanted, isCutout, hasKey, isSecure, grpc }) {
  const options = [`threshold=${wanted.threshold}`, `grow_mask=${wanted.grow_mask}`];
  if (wanted.invert_mask) options.push("invert_mask=True");
  if (isCutout) options.push("return_alpha=True");
  if (wanted.exclude) options.push(`exclude=${JSON.stringify(wanted.exclude)}`);
  if (wanted.model) options.push(`model=${JSON.stringify(wanted.model)}`);
  return `from automask.service import Client  # pip install 'automask[cpu,service]'

with Client(${JSON.stringify(grpc)}${isSecure ? ', ca="ca.pem"' : ""}) as client:${hasKey ? `  # the key: environment variable ${KEY}` : ""}
    result = client.mask(
        ${JSON.stringify(photo)},
        ${JSON.stringify(wanted.prompt)},
        ${options.join(",\n        ")},
    )
    result.save("${isCutout ? "cutout.png" : "mask.png"}")
    print(result.labels, [(one.label, one.score) for one in result.instances])
`;
}

function grpc({ photo, wanted, isCutout, hasKey, isSecure, grpc }) {
  const parameters = { threshold: wanted.threshold, growMask: wanted.grow_mask };
  if (wanted.invert_mask) parameters.invertMask = true;
  if (isCutout) parameters.returnAlpha = true;
  const task = { image: { encoded: "PHOTO" }, prompts: [wanted.prompt] };
  if (wanted.exclude) task.exclude = [wanted.exclude];
  if (wanted.model) task.model = wanted.model;
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

// For a POSIX shell.
function quote(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
