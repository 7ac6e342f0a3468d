"""Portico beside nginx with TLS: handshakes whole and resumed, small answers on connections that last, a large one.

`python -m benchmarks.tls [--rounds N] [--seconds N]` from the checkout. Loopback only; needs nginx, wrk and openssl.
What is told is the CPU time of the front per operation. Both have one process, the same certificate (ECDSA P-256),
TLS 1.3 and their OpenSSL's ciphers, and take turns.

A handshake is a connection of its own with one GET of 63 bytes and `Connection: close`; resumed means with the ticket
of the first one (nginx and a worker of Portico alike keep the keys of tickets in the process).
"""

from __future__ import annotations

import argparse
import os
import socket
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from benchmarks import machine
from benchmarks.fronts import nginx, portico
from benchmarks.fronts.front import Front, Site
from benchmarks.load import wrk
from benchmarks.load.outcome import Outcome
from benchmarks.load.request import ANSWER_LIMIT, get, read_answer, status_of
from benchmarks.measure import site_for
from benchmarks.processes import cpu_seconds_of
from benchmarks.table import table
from benchmarks.works import Work

ROUNDS, SECONDS = 3, 2
RESULT = Path(__file__).resolve().parent / "results" / "tls.md"


class TlsWork(Enum):
    """The value is its title."""

    FULL = "full handshake and one GET"
    RESUMED = "resumed handshake and one GET"
    GET = "GET on a kept connection"
    DOWN_10M = "10 MiB down"


def client_context(site: Site) -> ssl.SSLContext:
    """Of a visitor who trusts the certificate of this run."""
    return ssl.create_default_context(cafile=str(certificate(site)))


def certificate(site: Site) -> Path:
    """Made once a run; its key is beside it."""
    path = site.folder / "front.pem"
    if not path.exists():
        kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
        names = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
        files = ("-keyout", str(path.with_suffix(".key")), "-out", str(path))
        subprocess.run(["openssl", "req", "-x509", *kind, *names, *files], check=True, capture_output=True)
    return path


class _Encrypted(Front):
    """What both have."""

    def first_answer(self) -> str:
        with (
            socket.create_connection(("127.0.0.1", self.port), ANSWER_LIMIT) as plain,
            client_context(self.site).wrap_socket(plain, server_hostname="127.0.0.1") as connection,
        ):
            connection.sendall(get(self.port, "/api/first"))
            return status_of(read_answer(connection))


class TlsNginx(_Encrypted, nginx.Nginx):
    def argv(self) -> list[str]:
        argv = super().argv()
        conf, pem = self.folder / "nginx.conf", certificate(self.site)
        plain = f"listen 127.0.0.1:{self.port} backlog=4096;"
        text = conf.read_text()
        assert plain in text
        keys = f"ssl_certificate {pem}; ssl_certificate_key {pem.with_suffix('.key')};"
        conf.write_text(text.replace(plain, f"{plain[:-1]} ssl; {keys} ssl_protocols TLSv1.2 TLSv1.3;"))
        return argv


class TlsPortico(_Encrypted, portico.Portico):
    def argv(self) -> list[str]:
        argv = super().argv()
        conf, pem = self.folder / "portico.toml", certificate(self.site)
        table = f'\n[front.tls]\ncertificate = "{pem}"\nkey = "{pem.with_suffix(".key")}"\n'
        conf.write_text(conf.read_text().replace("http://", "https://") + table)
        return argv


def handshakes(site: Site, port: int, seconds: float, *, resume: bool) -> Outcome:
    """One connection after the other."""
    context = client_context(site)
    session: ssl.SSLSession | None = None
    done = errors = 0
    request = get(port, "/api/cart").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        with (
            socket.create_connection(("127.0.0.1", port), ANSWER_LIMIT) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as connection,
        ):
            connection.sendall(request)
            good = status_of(read_answer(connection)) == "200" and bool(session) == connection.session_reused
            errors += not good
            if resume and session is None:
                session = connection.session
        done += 1
    return Outcome(done, time.perf_counter() - began, errors)


@dataclass(frozen=True, slots=True)
class Sample:
    """`cost`: CPU microseconds of the front per operation; `rate`: operations a second."""

    cost: float
    rate: float
    errors: int


def measure(rounds: int, seconds: int, say: Callable[[str], None]) -> dict[TlsWork, dict[str, list[Sample]]]:
    """Samples of each work and front, in the order of the rounds."""
    machine.raise_open_files()
    cores = machine.cores()
    os.sched_setaffinity(0, cores.rest)
    found: dict[TlsWork, dict[str, list[Sample]]] = {work: {} for work in TlsWork}
    with ExitStack() as stack:
        site = stack.enter_context(site_for(cores))
        fronts: list[Front] = [TlsNginx(site), TlsPortico(site)]
        for front in fronts:
            front.start()
            stack.callback(front.stop)
        for number in range(rounds * len(TlsWork)):
            work = list(TlsWork)[number % len(TlsWork)]
            for front in fronts:
                before = cpu_seconds_of(front.pids)
                outcome = _load(site, front.port, work, seconds, number)
                cpu = cpu_seconds_of(front.pids) - before
                cost, rate = cpu / outcome.operations * 1e6, outcome.operations / outcome.seconds
                found[work].setdefault(front.name, []).append(Sample(cost, rate, outcome.errors))
                say(f"{work.value}, {front.name}: {cost:.1f} us, {rate:.0f}/s, {outcome.errors} errors")
    return found


def _load(site: Site, port: int, work: TlsWork, seconds: int, number: int) -> Outcome:
    if work in (TlsWork.FULL, TlsWork.RESUMED):
        return handshakes(site, port, seconds, resume=work is TlsWork.RESUMED)
    plan = Work.GET.plan if work is TlsWork.GET else Work.DOWN_10M.plan
    return wrk.run(port, plan, seconds, site.folder, 1_000_000 * (number + 1), "https")


def markdown(found: dict[TlsWork, dict[str, list[Sample]]], rounds: int, seconds: int) -> str:
    """Medians of the rounds."""
    rows = []
    for work, fronts in found.items():
        cost = {name: statistics.median(one.cost for one in samples) for name, samples in fronts.items()}
        rate = {name: statistics.median(one.rate for one in samples) for name, samples in fronts.items()}
        figures = [f"{cost[name]:,.0f}" for name in ("nginx", "Portico")]
        ratio = statistics.median(
            mine.cost / theirs.cost for mine, theirs in zip(fronts["Portico"], fronts["nginx"], strict=True)
        )
        rows.append(
            [work.value, *figures, f"{ratio:.2f}", f"{rate['nginx']:,.0f}", f"{rate['Portico']:,.0f}"]
        )
    head = ["", "nginx, CPU us", "Portico, CPU us", "ratio", "nginx, per second", "Portico, per second"]
    described = machine.describe()
    where = f"{described['processor']}, {described['cores']} cores, Linux {described['kernel']}"
    when = time.strftime("%Y-%m-%d", time.gmtime())
    text = f"{when}. {where}, {ssl.OPENSSL_VERSION}. {rounds} rounds of {seconds} s, interleaved; medians."
    return f"# TLS: Portico beside nginx\n\n{text}\n\n{table(head, rows)}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tls", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=int, default=SECONDS, help="of each load")
    parser.add_argument(
        "--output", type=Path, help=f"{RESULT.name} of benchmarks/results unless it is a look"
    )
    arguments = parser.parse_args()
    found = measure(
        arguments.rounds, arguments.seconds, lambda line: print(line, file=sys.stderr, flush=True)
    )
    page = markdown(found, arguments.rounds, arguments.seconds)
    print(page)
    if arguments.output is not None:
        arguments.output.write_text(page)
    return 1 if any(one.errors for each in found.values() for some in each.values() for one in some) else 0


if __name__ == "__main__":
    sys.exit(main())
