// Sends events as the SDK makes them. Standard input: {"url", "mode", "events": [{…attributes, "base64"?: bytes}]}.
// Standard output: one line of JSON with the status, the Location and the Link of the answer.
import { CloudEvent, HTTP } from "cloudevents";
import { text } from "node:stream/consumers";

const { url, mode, events } = JSON.parse(await text(process.stdin));
const made = events.map(({ base64, ...attributes }) =>
  new CloudEvent(base64 === undefined ? attributes : { ...attributes, data: Uint8Array.from(Buffer.from(base64, "base64")) }));

function message() {
  switch (mode) {
    case "binary":
      return HTTP.binary(made[0]);
    case "structured":
      return HTTP.structured(made[0]);
    case "batch":
      return { headers: { "content-type": HTTP.structured(made[0]).headers["content-type"].replace("cloudevents+", "cloudevents-batch+") },
        body: JSON.stringify(made) };
  }
  throw new Error(`unknown mode ${mode}`);
}

const { headers, body } = message();
const answer = await fetch(url, { method: "POST", headers, body });
console.log(JSON.stringify({
  status: answer.status, location: answer.headers.get("location") ?? "", link: answer.headers.get("link") ?? "", body: await answer.text(),
}));
