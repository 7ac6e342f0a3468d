"""An app without any server's opinions: what a request's path names is done on the bare socket, in a thread."""

import hashlib
import os
import socket
import threading
from pathlib import Path

import unmeasured  # noqa: F401

PEER_LIMIT = 60  # seconds
READ = threading.Event()  # set: who was told not to read goes on


class Peer:
    def __init__(self, sock):
        sock.settimeout(PEER_LIMIT)
        self.sock = sock
        self.rest = b""

    def head(self):
        while b"\r\n\r\n" not in self.rest:
            data = self.sock.recv(65536)
            if not data:
                return b""
            self.rest += data
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    def some(self):
        """What comes next, b"" at the end."""
        if self.rest:
            data, self.rest = self.rest, b""
            return data
        return self.sock.recv(65536)

    def say(self, *pieces):
        self.sock.sendall(b"".join(pieces))


def serve(sock):
    peer = Peer(sock)
    with sock:
        while head := peer.head():
            target = head.split(b" ")[1].partition(b"?")[0].rpartition(b"/")[2].decode()
            if not DOES.get(target, unknown)(peer, head):
                return


def length_of(head):
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return int(line[15:])
    return 0


def tell(peer, head):
    """The head itself, the token's value left out."""
    told = b"\r\n".join(
        b"MS-ASPNETCORE-TOKEN: ours" if is_ours(line) else line for line in head.split(b"\r\n")
    )
    peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(told), told)
    return True


def is_ours(line):
    return line == b"MS-ASPNETCORE-TOKEN: " + os.environ["ASPNETCORE_TOKEN"].encode()


def unknown(peer, head):
    peer.say(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    return True


# ------------------------------------------------------------------------------------------------------------
# Framings, in the words of ANCM's own tests


def chunked(peer, head):
    peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
    return True


def manually_chunked(peer, head):
    """Each byte of the coding in a segment of its own, as far as the kernel lets us."""
    for byte in b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0b;x=1\r\nhello world\r\n00\r\n\r\n":
        peer.say(bytes([byte]))
    return True


def content_length(peer, head):
    peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world")
    return True


def connection_close(peer, head):
    """The end of the connection is the end of the body."""
    peer.say(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello world")
    return False


def not_chunked(peer, head):
    """HTTP/1.0's way."""
    peer.say(b"HTTP/1.0 200 OK\r\n\r\nhello world")
    return False


def close_with_length(peer, head):
    peer.say(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 11\r\n\r\nhello world")
    return False


def trailers(peer, head):
    """Trailers for who says `TE: trailers`."""
    peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
    peer.say(b"5\r\nhello\r\n0\r\nX-Sum: 5d41402a\r\n\r\n")
    return True


def hints(peer, head):
    """Two interim responses and the final one."""
    peer.say(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n")
    return content_length(peer, head)


# ------------------------------------------------------------------------------------------------------------
# Trouble


def abort(peer, head):
    """The connection is closed before a head."""
    return False


def break_off(peer, head):
    peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhello world")
    return False


def early(peer, head):
    """A final answer while the body still comes up; the rest of the body is read and forgotten."""
    peer.say(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\nConnection: close\r\n\r\ntoo much")
    return False


def final_for_expect(peer, head):
    """A final status instead of 100."""
    peer.say(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 4\r\n\r\nnone")
    return True


def deaf(peer, head):
    """Reads no byte of the body before `go_on`; tells then what it was."""
    Path("deaf").write_text("")
    READ.wait(PEER_LIMIT)
    left, digest = length_of(head), hashlib.sha256()
    while left > 0:
        data = peer.some()
        if not data:
            return False
        digest.update(data)
        left -= len(data)
    peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n", digest.hexdigest().encode())
    return True


def go_on(peer, head):
    READ.set()
    return content_length(peer, head)


def huge(peer, head):
    """A body of 1 GiB, as fast as it is taken."""
    peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
    for _ in range(1 << 14):
        peer.say(b"x" * 65536)
    return True


# ------------------------------------------------------------------------------------------------------------
# Upgrades


def switch(peer, more=b""):
    peer.say(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: lines\r\n\r\n", more)


def hash_to_end(peer, head):
    """Reads to the end of input, answers then: who says FIN goes on reading. First words come with the 101."""
    switch(peer, b"early words of the app\n")
    digest = hashlib.sha256()
    while data := peer.some():
        digest.update(data)
    peer.say(digest.hexdigest().encode())
    return False


def end_first(peer, head):
    """Says FIN at once and goes on reading; what it read is told by `what_came`."""
    switch(peer)
    peer.sock.shutdown(socket.SHUT_WR)
    came = b""
    while data := peer.some():
        came += data
    Path("came").write_bytes(came)
    return False


def what_came(peer, head):
    came = Path("came").read_bytes() if Path("came").exists() else b""
    peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(came), came)
    return True


def unasked(peer, head):
    """A switch to what nobody offered."""
    peer.say(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n")
    return False


def refused(peer, head):
    """An ordinary answer instead of 101."""
    body = b"refused"
    peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body)
    return True


DOES = {
    "tell": tell,
    "chunked": chunked,
    "manuallychunked": manually_chunked,
    "contentlength": content_length,
    "connectionclose": connection_close,
    "notchunked": not_chunked,
    "closewithlength": close_with_length,
    "trailers": trailers,
    "hints": hints,
    "abort": abort,
    "break": break_off,
    "early": early,
    "expect": final_for_expect,
    "deaf": deaf,
    "go-on": go_on,
    "huge": huge,
    "hash-to-end": hash_to_end,
    "end-first": end_first,
    "what-came": what_came,
    "unasked": unasked,
    "refused": refused,
}


def main():
    listener = socket.create_server((os.environ["HOST"], int(os.environ["PORT"])), backlog=512)
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=serve, args=(sock,), daemon=True).start()


if __name__ == "__main__":
    main()
