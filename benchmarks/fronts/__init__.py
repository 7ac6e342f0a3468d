"""The fronts, each in a file that knows how to configure it; `FRONTS` in the order in which they take turns."""

from __future__ import annotations

from benchmarks.fronts.caddy import Caddy
from benchmarks.fronts.front import Front
from benchmarks.fronts.haproxy import HAProxy
from benchmarks.fronts.nginx import Nginx
from benchmarks.fronts.passenger import Passenger
from benchmarks.fronts.plain import Plain
from benchmarks.fronts.portico import Portico, PorticoWithoutLog

FRONTS: tuple[type[Front], ...] = (Nginx, HAProxy, Caddy, Passenger, Plain, Portico, PorticoWithoutLog)
