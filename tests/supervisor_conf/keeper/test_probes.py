"""«Who listens? Is it ours?» with real listeners, and who is swept, with real processes."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator

import pytest

from supervisor_conf.control.messages import Spawned
from supervisor_conf.keeper import listeners, probes, processes
from supervisor_conf.keeper.listeners import Listener, read_proc_net, tcp_listeners
from supervisor_conf.keeper.probes import Verdict
from tests.kit.until import wait_until
from tests.supervisor_conf.keeper.marked import marked_processes

SAYS_ITS_PORT = """
import os, socket, sys, time
family, host, v6only = socket.{family}, {host!r}, {v6only}
def listen():
    one = socket.socket(family)
    if family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
    one.bind((host, {port}))
    one.listen()
    print(one.getsockname()[1], flush=True)
    time.sleep(60)
"""

Launch = Callable[..., Spawned]


@pytest.fixture
def launch() -> Iterator[Launch]:
    """`launch(host, …)`: a process that listens, or whose descendant does; told to listen on that very port."""

    def start(
        host: str = "127.0.0.1",
        *,
        family: str = "AF_INET",
        v6only: int = 0,
        main: str = "listen()",
        told: int = 0,
        port: int = 0,
        nonce: bool = True,
    ) -> Spawned:
        code = SAYS_ITS_PORT.format(family=family, host=host, v6only=v6only, port=port) + main
        one = begin(code, nonce)
        port = told or int(one.said)
        return Spawned("shop", "shop", 0, 1, one.pid, "127.0.0.1", port, "", "t", one.nonce, "", 0.0, True)

    with marked_processes() as begin:
        yield start


def ours(pid: int) -> probes.Finding:
    return probes.Finding(Verdict.OURS, f"pid {pid}", pid)


@pytest.mark.parametrize(
    ("host", "family", "v6only", "heard"),
    [
        ("127.0.0.1", "AF_INET", 0, True),
        ("0.0.0.0", "AF_INET", 0, True),
        ("127.0.0.2", "AF_INET", 0, False),
        ("::", "AF_INET6", 0, True),
        ("::", "AF_INET6", 1, False),
        ("::1", "AF_INET6", 1, False),
        ("::ffff:127.0.0.1", "AF_INET6", 0, True),
    ],
)
def test_any_local_address_that_a_connection_to_127_0_0_1_reaches(
    launch: Launch, host: str, family: str, v6only: int, heard: bool
) -> None:
    generation = launch(host, family=family, v6only=v6only)
    assert probes.look(generation) == (ours(generation.pid) if heard else probes.Finding(Verdict.NOBODY))
    shown = f"[{host}]" if ":" in host else host
    if not heard:
        assert probes.listens_elsewhere(generation) == (f"{shown}:{generation.port}",)


def test_nobody_listens_yet(launch: Launch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        generation = launch(told=free.getsockname()[1])
        assert probes.look(generation).verdict is Verdict.NOBODY
        assert len(probes.listens_elsewhere(generation)) == 1


FORK = "child = os.fork()\nif child == 0:\n    {before}listen()\nos.waitpid(child, 0)"
# It listens when the one between has gone: until then it is that one's child, and nobody's orphan.
ORPHAN = (
    "if os.fork() == 0:\n"
    "    between = os.getpid()\n"
    "    if os.fork() == 0:\n"
    "        os.setsid()\n"
    "        while os.getppid() == between: time.sleep(0.001)\n"
    "        listen()\n"
    "    os._exit(0)\n"
    "time.sleep(60)"
)


@pytest.mark.parametrize(
    "main",
    [FORK.format(before=""), FORK.format(before="os.setsid(); "), ORPHAN],
    ids=["child", "child in a session of its own", "orphan with the nonce"],
)
def test_descendants_are_ours(launch: Launch, main: str) -> None:
    generation = launch(main=main)
    finding = probes.look(generation)
    assert finding.verdict is Verdict.OURS
    assert finding.pid != generation.pid


def test_an_orphan_without_the_nonce_in_another_session_is_a_stranger(launch: Launch) -> None:
    generation = launch(main=ORPHAN, nonce=False)
    finding = probes.look(generation)
    assert finding.verdict is Verdict.FOREIGN
    (pid,) = (int(word) for word in finding.holder.split() if word.isdigit())
    os.kill(pid, signal.SIGKILL)


def test_a_foreign_process_is_named(launch: Launch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        generation = launch(told=stranger.getsockname()[1])
        finding = probes.look(generation)
        assert finding.verdict is Verdict.FOREIGN
        assert f"pid {os.getpid()}" in finding.holder


def test_a_stranger_beside_us_on_the_same_port_makes_it_foreign(launch: Launch) -> None:
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        shares = "socket.socket.bind = lambda s, a, bind=socket.socket.bind: (s.setsockopt(1, 15, 1), bind(s, a))\n"
        generation = launch(port=port, main=shares + "listen()")
        assert probes.look(generation).verdict is Verdict.FOREIGN


def test_netlink_and_proc_net_agree() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as other,
    ):
        for port in (one.getsockname()[1], other.getsockname()[1]):
            assert tcp_listeners(port) == [found for found in read_proc_net() if found.port == port] != []


def test_without_netlink_proc_net_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    # A netlink protocol that no kernel has: the answer is the error that a sandbox gives.
    monkeypatch.setattr(listeners, "_NETLINK_SOCK_DIAG", 31)
    with socket.create_server(("127.0.0.1", 0)) as server:
        (found,) = tcp_listeners(server.getsockname()[1])
        assert found.address == "127.0.0.1"


@pytest.mark.parametrize(
    ("address", "v6_only", "host", "heard"),
    [
        ("::", True, "::1", True),
        ("::", False, "10.0.0.1", True),
        ("0.0.0.0", False, "::1", False),
        ("::1", True, "::1", True),
        ("10.0.0.1", False, "127.0.0.1", False),
    ],
)
def test_who_hears_whom(address: str, v6_only: bool, host: str, heard: bool) -> None:
    assert Listener(address, 1, 1, 0, v6_only).hears(host) is heard


# --------------------------------------------------------------------------------------------------------
# The sweep


def test_the_sweep_kills_the_group_and_whoever_carries_the_nonce(launch: Launch) -> None:
    generation = launch(main=ORPHAN)
    assert len(processes.members(generation.pid, generation.nonce)) == 2
    os.kill(generation.pid, signal.SIGKILL)
    assert processes.sweep(generation.pid, generation.nonce) >= 1
    wait_until(lambda: not processes.members(generation.pid, generation.nonce, gone=True), "nobody left")


def test_a_number_that_was_given_out_again_is_not_swept(launch: Launch) -> None:
    """`pid` is a living process without the nonce: it is a stranger with the old number."""
    stranger = launch(nonce=False)
    assert processes.members(stranger.pid, stranger.nonce) == {stranger.pid}
    assert processes.members(stranger.pid, stranger.nonce, gone=True) == set()
    assert processes.sweep(stranger.pid, stranger.nonce) == 0
    assert processes.read_process(stranger.pid) is not None


def test_a_process_name_with_brackets_is_read(launch: Launch) -> None:
    generation = launch(main="open('/proc/self/comm', 'w').write('a) R 1 (b'); listen()")
    process = processes.read_process(generation.pid)
    assert process is not None
    assert (process.name, process.parent, process.group) == ("a) R 1 (b", os.getpid(), generation.pid)
