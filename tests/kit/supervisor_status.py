"""What stock supervisord says of its processes, as supervisorctl asks for it, without a process for each question."""

from __future__ import annotations

import http.client
import xmlrpc.client
from dataclasses import dataclass
from pathlib import Path

from supervisor.options import make_namespec
from supervisor.xmlrpc import SupervisorTransport


@dataclass(frozen=True, slots=True)
class Seat:
    """One line of `supervisorctl status`; `pid` is 0 where nothing runs."""

    state: str
    pid: int


def status(socket: Path) -> dict[str, Seat]:
    """Every process by its name in supervisorctl; nothing while supervisord does not answer, as when it ends."""
    transport = SupervisorTransport(serverurl=f"unix://{socket}")
    server = xmlrpc.client.ServerProxy("http://127.0.0.1", transport)
    try:
        told: list[dict[str, object]] = server.supervisor.getAllProcessInfo()  # type: ignore[assignment]
    except (OSError, http.client.HTTPException, xmlrpc.client.Error):
        return {}
    finally:
        transport.close()
    return {
        make_namespec(one["group"], one["name"]): Seat(str(one["statename"]), int(str(one["pid"])))
        for one in told
    }
