"""Stands where a worker stands: answers every connection with its pid.

    peer_worker.py RUN

`GET /slow` is answered when RUN/go exists. SIGTERM: accepts no more, finishes what it has, ends.
"""

import os
import selectors
import signal
import socket
import sys
import time


def main() -> None:
    count = int(os.environ["LISTEN_FDS"])
    waiting = selectors.DefaultSelector()
    listening = [socket.socket(fileno=3 + offset) for offset in range(count)]
    for one in listening:
        waiting.register(one, selectors.EVENT_READ)
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write)
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True
        for one in listening:
            one.close()

    signal.signal(signal.SIGTERM, stop)
    waiting.register(read, selectors.EVENT_READ)
    with open(f"{sys.argv[1]}/worker-{os.getpid()}", "w") as file:
        file.write(" ".join(sorted(os.listdir("/proc/self/fd"), key=int)))
    while not stopping:
        for key, _ in waiting.select():
            if key.fileobj in listening:
                try:
                    visitor, _ = key.fileobj.accept()  # type: ignore[union-attr]
                except BlockingIOError:
                    continue
                with visitor:
                    serve(visitor, sys.argv[1])


def serve(visitor: socket.socket, run: str) -> None:
    visitor.setblocking(True)
    head = visitor.recv(65536)
    if head.startswith(b"GET /slow"):
        with open(f"{run}/slow-{os.getpid()}", "w"):
            pass
        while not os.path.exists(f"{run}/go"):
            time.sleep(0.01)
    visitor.sendall(f"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{os.getpid()}".encode())


main()
