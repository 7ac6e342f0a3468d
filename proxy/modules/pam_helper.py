"""`python -I pam_helper.py SERVICE`: asks PAM, for one worker (`pam.py`).

Descriptor 0 is a socket of the worker's, on which each question comes as a socket of its own; it ends when the worker
does.
"""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

READY, QUESTION, RIGHT, WRONG = b"r", b"q", b"+", b"-"
THREADS = 8
LONGEST = 65536


def frame(user: str, password: str) -> bytes:
    raw = user.encode("utf-8"), password.encode("utf-8")
    return b"".join(len(part).to_bytes(4, "big") + part for part in raw)


def main(service: str) -> None:
    import pam  # the workers need not have it

    for number in (signal.SIGTERM, signal.SIGINT):  # of the worker's group: it still drains
        signal.signal(number, signal.SIG_IGN)
    pam.PamAuthenticator()  # loads libpam, or fails now
    with socket.socket(fileno=0) as control, ThreadPoolExecutor(THREADS) as threads:
        control.sendall(READY)
        while True:
            data, descriptors, _, _ = socket.recv_fds(control, 1, 1)
            if not data:
                return
            for descriptor in descriptors:
                threads.submit(answer, pam.PamAuthenticator, service, socket.socket(fileno=descriptor))


def answer(authenticator: Callable[[], Any], service: str, asked: socket.socket) -> None:
    with asked, asked.makefile("rb") as file:
        user, password = _part(file), _part(file)
        # Password and account both: one that is locked or has expired is refused.
        right = authenticator().authenticate(user, password, service=service, resetcreds=False)
        asked.sendall(RIGHT if right else WRONG)


def _part(file: BinaryIO) -> str:
    size = int.from_bytes(file.read(4), "big")
    return file.read(min(size, LONGEST)).decode("utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
