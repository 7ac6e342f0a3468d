// One request by Node's own fetch (undici). Arguments: JSON of {method, url, headers, streams}; the body is standard input.
// Standard output: one line of JSON {status, headers, cookies}, then the body as it is.
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";

const { method, url, headers, streams } = JSON.parse(process.argv[2]);
const options = { method, headers, redirect: "manual" };
if (streams) Object.assign(options, { body: Readable.toWeb(process.stdin), duplex: "half" });
else {
  const body = await buffer(process.stdin);
  if (body.length) options.body = body;
}
const answer = await fetch(url, options);
const told = { status: answer.status, headers: [...answer.headers], cookies: answer.headers.getSetCookie() };
process.stdout.write(JSON.stringify(told) + "\n");
for await (const piece of answer.body ?? []) process.stdout.write(piece);
