"""Passenger's core serving HTTP by itself, with no nginx before it: its fastest set-up for one app.

It starts the backend by its generic way (`--app-start-command`, PORT in the environment), as Portico does. To such
an app it makes a new connection for every request; it has no setting for that.
"""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks import backend
from benchmarks.fronts.front import Front, said
from benchmarks.processes import Started

LOCATIONS = Path("/usr/lib/ruby/vendor_ruby/phusion_passenger/locations.ini")
APP = """#!/bin/sh
exec {python} {backend} "$PORT" {folder} {echo}
"""


class Passenger(Front):
    name = "Passenger"
    needs = "passenger"

    def argv(self) -> list[str]:
        (self.folder / "public").mkdir()
        app = self.folder / "app"
        app.write_text(
            APP.format(
                python=sys.executable, backend=backend.__file__, folder=self.site.folder, echo=self.site.echo
            )
        )
        app.chmod(0o755)
        folder, user = str(self.folder), getpass.getuser()
        # Root's apps would run as the default user, user switching or not; and the watchdog as nobody.
        watchdog = ["--user", user] if os.geteuid() == 0 else []
        users = ["--no-user-switching", "--default-user", user, "--log-level", "2"]
        core = [
            *("--listen", f"tcp://127.0.0.1:{self.port}", "--threads", "1", "--disable-turbocaching"),
            *("--app-start-command", str(app), "--max-pool-size", "1", "--pool-idle-time", "0"),
            *("--force-max-concurrent-requests-per-process", "0", "--max-request-queue-size", "0"),
            *("--stat-throttle-rate", "3600", "--data-buffer-dir", folder),
            *("--disable-security-update-check", "--disable-anonymous-telemetry"),
        ]
        return [
            *(self.program(), "watchdog", "--passenger-root", str(LOCATIONS), *watchdog, *users),
            *("--instance-registry-dir", folder, "--spawn-dir", folder, "--BC", *users, *core, folder),
        ]

    def environment(self) -> Mapping[str, str]:
        return {"TMPDIR": str(self.folder)}

    def measured(self, started: Started) -> list[int]:
        return started.descendants_like("Passenger core")

    def version(self) -> str:
        return said("passenger-config", "--version").split()[-1]
