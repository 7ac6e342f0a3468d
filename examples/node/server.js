// A plain Node app: it reads PORT as most do, and refuses who comes without the pairing token.
const http = require("node:http");
const { timingSafeEqual } = require("node:crypto");

const token = Buffer.from(process.env.ASPNETCORE_TOKEN ?? "");

function paired(request) {
  const sent = Buffer.from(request.headers["ms-aspnetcore-token"] ?? "");
  delete request.headers["ms-aspnetcore-token"];
  return token.length === 0 || (sent.length === token.length && timingSafeEqual(sent, token));
}

http.createServer((request, response) => {
  if (!paired(request)) return response.writeHead(400).end();
  response.end(`hello from Node, ${request.headers["x-forwarded-for"]}\n`);
}).listen(process.env.PORT ?? 3000, process.env.HOST ?? "127.0.0.1");
