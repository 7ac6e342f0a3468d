"""Sockets whose other end is on this machine.

Where BBR is the system's congestion control (net.ipv4.tcp_congestion_control), the kernel paces every socket with a
timer of its own: on a loopback there is no bandwidth to find out, and the timers cost as much CPU as moving a large
body does. Reno is in every kernel, is open to everybody and never paces. It must be chosen before a connection is
there: one that BBR has begun stays paced.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address

_UNPACED = b"reno"


def is_loopback(host: str) -> bool:
    """Whether an address that a socket is bound to, or connects to, can only be this machine."""
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def unpace(sock: socket.socket) -> None:
    """For a socket that is to listen, or to connect, on a loopback address."""
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _UNPACED)
    except OSError:
        pass  # a sandbox that does not let us choose: it works as well, for more
