"""The listening sockets: bound once, before supervisord starts, kept until it ends, handed to workers only.

They live in this module, not in the plugin object: supervisord makes that anew when it reloads.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Sequence
from typing import Final

from supervisor_conf.plugin.descriptors import lift
from supervisor_conf.settings import Listen

BACKLOG: Final = 4096
"""Connections that wait while every worker is away (a restart of all). The kernel cuts it to net.core.somaxconn."""

_held: dict[Listen, socket.socket] = {}
_made_paths: dict[Listen, tuple[int, int]] = {}
"""Unix sockets whose file we made: device and inode, so that only that very file is removed."""


class AddressUnavailable(Exception):
    """An address of `[front] listen` cannot be used; `sentence` tells the user why."""

    def __init__(self, listen: Listen, sentence: str) -> None:
        super().__init__(sentence)
        self.listen = listen
        self.sentence = sentence


def bind_all(listens: Sequence[Listen]) -> tuple[socket.socket, ...]:
    """Listening sockets in the order of `listens`; those already held are the same ones again.

    Raises AddressUnavailable; then nothing that this call bound stays bound.
    """
    fresh: list[Listen] = []
    try:
        for listen in listens:
            if listen not in _held:
                _held[listen] = _bind(listen)
                fresh.append(listen)
    except AddressUnavailable:
        for listen in fresh:
            _close(listen)
        raise
    return tuple(_held[listen] for listen in listens)


def held() -> dict[Listen, socket.socket]:
    """What is bound now. A copy."""
    return dict(_held)


def close_all() -> None:
    """Stop listening everywhere, at once: nobody may wait in the queue of a socket that is never accepted from."""
    for listen in tuple(_held):
        _close(listen)


def real_url(listen: Listen, bound: socket.socket) -> str:
    """The URL that people can type: port 0 is replaced by the port that the kernel chose."""
    if listen.scheme not in ("http", "https") or listen.port:
        return listen.url
    host = f"[{listen.host}]" if ":" in listen.host else listen.host
    return f"{listen.scheme}://{host}:{bound.getsockname()[1]}"


def https_port() -> int:
    """The port of the https:// addresses that are held; 0 if there is none, or more than one."""
    ports = {
        listen.port or bound.getsockname()[1] for listen, bound in _held.items() if listen.scheme == "https"
    }
    return ports.pop() if len(ports) == 1 else 0


def _close(listen: Listen) -> None:
    _held.pop(listen).close()
    made = _made_paths.pop(listen, None)
    if made is None:
        return
    try:
        found = os.lstat(listen.path)
        if (found.st_dev, found.st_ino) == made:
            os.unlink(listen.path)
    except OSError:
        # Somebody removed it, or its folder, before us.
        pass


def _bind(listen: Listen) -> socket.socket:
    match listen.scheme:
        case "unix":
            low = _bind_unix(listen)
        case "fd":
            low = _adopt(listen)
        case _:
            low = _bind_address(listen)
    return _settle(listen, low)


def _settle(listen: Listen, low: socket.socket) -> socket.socket:
    try:
        with low:
            if listen.scheme != "fd":
                low.listen(BACKLOG)
            high = socket.socket(fileno=lift(low.fileno()))
    except OSError as error:
        raise AddressUnavailable(listen, _sentence(listen, error)) from error
    high.setblocking(False)
    return high


def _bind_address(listen: Listen) -> socket.socket:
    try:
        found = socket.getaddrinfo(
            listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )
    except (socket.gaierror, UnicodeError) as error:
        raise AddressUnavailable(
            listen, f"{listen.url}: the host name {listen.host!r} cannot be resolved ({error})."
        ) from error
    family, kind, protocol, _, address = found[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # `[::]` and `0.0.0.0` may stand side by side in one configuration.
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
    except OSError as error:
        made.close()
        raise AddressUnavailable(listen, _sentence(listen, error)) from error
    return made


def _bind_unix(listen: Listen) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(listen)
        made.bind(listen.path)
        # Visitors are whoever can reach the folder, as with a port: the workers do not own the file.
        os.chmod(listen.path, 0o666)
        status = os.lstat(listen.path)
    except OSError as error:
        made.close()
        raise AddressUnavailable(listen, _sentence(listen, error)) from error
    _made_paths[listen] = (status.st_dev, status.st_ino)
    return made


def _remove_stale(listen: Listen) -> None:
    """A socket file on which nobody listens is what a killed server leaves behind; anything else stays."""
    try:
        if not stat.S_ISSOCK(os.lstat(listen.path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asker:
        asker.settimeout(1)
        try:
            asker.connect(listen.path)
        except ConnectionRefusedError:
            os.unlink(listen.path)


def _adopt(listen: Listen) -> socket.socket:
    try:
        adopted = socket.socket(fileno=os.dup(listen.fd))
    except OSError as error:
        raise AddressUnavailable(listen, f"fd:{listen.fd} is not an open socket.") from error
    try:
        listening = adopted.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        streaming = adopted.type == socket.SOCK_STREAM
    except OSError:
        listening = streaming = False
    if not (listening and streaming):
        adopted.close()
        raise AddressUnavailable(listen, f"fd:{listen.fd} is not a listening stream socket.")
    if listen.fd > 2:
        # A second copy would keep the address listening after `close_all`.
        os.close(listen.fd)
    return adopted


def _sentence(listen: Listen, error: OSError) -> str:
    reasons = {
        errno.EADDRINUSE: "the address is in use by another program",
        errno.EACCES: "this user may not use it (ports below 1024 and foreign folders need more rights)",
        errno.EPERM: "this user may not use it",
        errno.EADDRNOTAVAIL: "this machine has no such address",
        errno.EAFNOSUPPORT: "this machine does not speak that kind of address",
        errno.ENOENT: "its folder does not exist",
        errno.EMFILE: "the limit of open files is too low (see `ulimit -n`)",
        errno.EINVAL: "the limit of open files is too low (see `ulimit -n`)",
    }
    # AF_UNIX paths that are too long are an OSError without a number.
    reason = reasons.get(error.errno or 0, error.strerror or str(error))
    return f"{listen.url} cannot be listened on: {reason}."
