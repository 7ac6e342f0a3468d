// The WebSocket side of wire.py for Node's `ws`: same paths, same words in brackets.
const http = require("node:http");
const { URL } = require("node:url");
const { WebSocketServer } = require("ws");

const seen = new Map(); // name -> what /say or a closed socket left, or the response that waits for it

function complete(name, value) {
  const waiting = seen.get(name);
  if (waiting instanceof http.ServerResponse) waiting.end(JSON.stringify(value));
  else seen.set(name, value);
}

const sockets = new WebSocketServer({
  noServer: true,
  perMessageDeflate: { threshold: 0 },
  handleProtocols: (offered) => [...offered].pop(),
});

const server = http.createServer((request, response) => {
  const url = new URL(request.url, "http://app");
  const name = url.searchParams.get("name") ?? "";
  if (url.pathname.endsWith("/poll")) {
    if (seen.has(name)) response.end(JSON.stringify(seen.get(name)));
    else seen.set(name, response);
  } else {
    response.end(JSON.stringify({ pid: process.pid }));
  }
});

server.on("upgrade", (request, socket, head) => {
  const url = new URL(request.url, "http://app");
  if (url.pathname.endsWith("/refuse") || url.pathname.endsWith("/deny")) {
    const [status, body] = url.pathname.endsWith("/deny") ? ["401 Unauthorized", "who are you?"] : ["403 Forbidden", ""];
    socket.end(`HTTP/1.1 ${status}\r\nContent-Length: ${body.length}\r\nWWW-Authenticate: Basic\r\nConnection: close\r\n\r\n${body}`);
    return;
  }
  sockets.handleUpgrade(request, socket, head, (talker) => {
    talker.on("close", (code, reason) => complete(url.searchParams.get("name") ?? "", [code, reason.toString()]));
    talker.on("error", () => {});
    talker.on("pong", (data) => talker.send(`[pong] ${data}`));
    talker.on("message", (data, isBinary) => {
      const text = isBinary ? "" : data.toString();
      if (text === "[facts]") {
        const headers = [];
        for (let at = 0; at < request.rawHeaders.length; at += 2) {
          headers.push([request.rawHeaders[at].toLowerCase(), request.rawHeaders[at + 1]]);
        }
        talker.send(JSON.stringify({ pid: process.pid, headers, extensions: talker.extensions, raw_path: request.url }));
      } else if (text === "[close]") talker.close(4002, "app says so");
      else if (text === "[crash]") process.exit(3);
      else if (text === "[ping]") talker.ping("are you there");
      else talker.send(data, { binary: isBinary });
    });
  });
});

server.listen(process.env.PORT, process.env.HOST);
