// A Node app that listens on what it was given: a Unix socket, or the descriptor that listens already.
const http = require("node:http");

const token = process.env.ASPNETCORE_TOKEN;
const where = process.env.PORTICO_SOCKET ?? { fd: 3 };

http.createServer((request, response) => {
  if (request.headers["ms-aspnetcore-token"] !== token) return response.writeHead(400).end();
  delete request.headers["ms-aspnetcore-token"];
  response.setHeader("Content-Type", "application/json");
  response.end(JSON.stringify({
    pid: process.pid,
    uid: process.getuid(),
    names: Object.keys(process.env).sort(),
    headers: Object.entries(request.headers),
  }));
}).listen(where);
