from __future__ import annotations

from proxy.listener import adopt


def test_nobody_whom_a_worker_starts_takes_its_sockets_for_his_own() -> None:
    """sd_listen_fds(3) reads these."""
    environ = {"LISTEN_FDS": "0", "LISTEN_PID": "4711", "PATH": "/bin"}
    assert adopt(environ) == []
    assert environ == {"PATH": "/bin"}
