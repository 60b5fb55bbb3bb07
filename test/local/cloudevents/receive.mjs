// Receives events with the SDK, in its strict mode, and prints each as a line of JSON. The first line is the port. PORT chooses it.
import { HTTP } from "cloudevents";
import { createServer } from "node:http";
import { text } from "node:stream/consumers";

const server = createServer(async (request, response) => {
  try {
    const event = HTTP.toEvent({ headers: request.headers, body: await text(request) });
    event.validate();
    console.log(JSON.stringify(event));
    response.writeHead(204).end();
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }));
    response.writeHead(400).end();
  }
});
server.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => console.log(server.address().port));
