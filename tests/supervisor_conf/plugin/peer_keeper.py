"""Stands where the keeper stands: what the plugin says goes, byte for byte, to the test that connects, and back.

peer_keeper.py RUN      listens on RUN/peer-PID.sock; ends when the plugin link ends
"""

import os
import selectors
import socket
import sys

LINK = 3


def main() -> None:
    link = socket.socket(fileno=LINK)
    door = socket.socket(socket.AF_UNIX)
    path = f"{sys.argv[1]}/peer-{os.getpid()}.sock"
    door.bind(path + ".new")
    door.listen()
    os.rename(path + ".new", path)
    guest, _ = door.accept()
    waiting = selectors.DefaultSelector()
    waiting.register(link, selectors.EVENT_READ, guest)
    waiting.register(guest, selectors.EVENT_READ, link)
    relayed = 0
    while True:
        for key, _ in waiting.select():
            data = key.fileobj.recv(65536)  # type: ignore[union-attr]
            if not data and key.fileobj is link:
                os.unlink(path)
                return
            if not data:
                waiting.unregister(guest)
                continue
            key.data.sendall(data)
            if key.fileobj is guest:
                relayed += len(data)
                with open(f"{sys.argv[1]}/relayed-{os.getpid()}", "w") as file:
                    file.write(str(relayed))


main()
