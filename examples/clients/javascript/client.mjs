// Submits a program, follows its log and downloads its outputs.
//
//     node client.mjs http://localhost:8080 words.py results alpha beta
//
// GOJOB_KEY is the caller's key, where the server asks for one.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";

const runtimes = { ".py": "python", ".js": "node", ".java": "java", ".jar": "java" };
const over = ["Succeeded", "Failed", "Cancelled"];

const [url, program, folder, ...args] = process.argv.slice(2);
if (!folder) {
  console.error("usage: node client.mjs URL PROGRAM FOLDER [ARGUMENT...]");
  process.exit(2);
}

// call sends a request. On an error it throws the server's message.
async function call(where, options) {
  const answer = await fetch(url + where, options);
  if (!answer.ok) {
    const problem = await answer.json();
    throw new Error(`${answer.status}: ${problem.detail}`);
  }
  return answer;
}

const form = new FormData();
form.set("runtime", runtimes[path.extname(program)] ?? "binary");
form.set("entrypoint", path.basename(program));
form.set("args", JSON.stringify(args));
form.set("files", new Blob([await readFile(program)]), path.basename(program));
const key = process.env.GOJOB_KEY; // for the other calls the job's token will do
const accepted = await call("/api/v1/jobs", {
  method: "POST",
  body: form,
  headers: { "Idempotency-Key": crypto.randomUUID(), ...(key && { Authorization: `Bearer ${key}` }) },
});
const { jobID, token } = await accepted.json();
const headers = { Authorization: `Bearer ${token}` };

// Copies the log to standard output until the job is over. Reconnects when the connection breaks.
let position = 0;
let status;
for (let done = false; !done; ) {
  // The status is read before the log. If the job is over by then, the log is complete.
  status = await (await call(`/api/v1/jobs/${jobID}`, { headers })).json();
  const log = await call(`/api/v1/jobs/${jobID}/logs?follow=true&from=${position}`, { headers });
  try {
    for await (const piece of log.body) {
      process.stdout.write(piece);
      position += piece.length;
    }
    done = over.includes(status.phase);
  } catch (error) {
    if (error.name !== "TypeError") throw error; // fetch throws it when the connection breaks
  }
}

const { items } = await (await call(`/outputs/${jobID}`, { headers })).json();
for (const { name } of items) {
  const file = await call(`/outputs/${jobID}/${name.split("/").map(encodeURIComponent).join("/")}`, { headers });
  const to = path.join(folder, name);
  await mkdir(path.dirname(to), { recursive: true });
  await writeFile(to, file.body);
}
console.error(`${status.phase}: ${status.message ?? status.reason}`);
process.exitCode = status.phase === "Succeeded" ? 0 : 1;
