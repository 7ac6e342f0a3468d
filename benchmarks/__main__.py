"""Portico side by side with nginx, HAProxy, Caddy, Passenger and the plain gevent + h11 program.

`python -m benchmarks` from the checkout, in an environment where Portico is installed. It installs nothing: it
says which Debian packages are missing and leaves out the fronts that need them. Loopback only.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks import machine, plot
from benchmarks.fronts import FRONTS
from benchmarks.measure import IDLE, LATENCY, Options, measure
from benchmarks.processes import NotStarted
from benchmarks.results import Run, from_json, to_json
from benchmarks.table import markdown
from benchmarks.works import Work

RESULTS = Path(__file__).resolve().parent / "results"
FULL_LIMIT = 630.0
QUICK_LIMIT = 100.0
"""Seconds of measuring; starting and stopping come on top."""


def main() -> int:
    arguments = _parser().parse_args()
    # A run that is told to end must still end what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if arguments.redraw:
        return _write(from_json(arguments.redraw.read_text()), arguments.output or arguments.redraw.parent)
    options = Options(
        seconds=arguments.seconds or (1 if arguments.quick else 2),
        rounds=arguments.rounds or (1 if arguments.quick else 3),
        limit=QUICK_LIMIT if arguments.quick else FULL_LIMIT,
        only=frozenset(arguments.only),
        fronts=frozenset(arguments.front),
    )
    if missing := machine.missing_packages():
        _say(
            f"not installed: {', '.join(missing)}; to have them: apt-get install {' '.join(missing.values())}"
        )
    try:
        run = measure(options, _say)
    except (machine.UnfitMachine, NotStarted) as why:
        _say(str(why))
        return 1
    partial = arguments.quick or arguments.only or arguments.front
    return _write(run, arguments.output or (_temporary() if partial else RESULTS))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    keys = [*(work.key for work in Work), LATENCY, IDLE]
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=keys,
        help="this work alone (may be given several times)",
    )
    parser.add_argument(
        "--front",
        action="append",
        default=[],
        choices=[front.name for front in FRONTS],
        help="this front alone (several times)",
    )
    parser.add_argument("--rounds", type=_positive, help="rounds (3; 1 with --quick)")
    parser.add_argument("--seconds", type=_positive, help="whole seconds of each load (2; 1 with --quick)")
    parser.add_argument("--quick", action="store_true", help="a look, in less than two minutes")
    parser.add_argument(
        "--output",
        type=Path,
        help="folder for results.json, results.md, benchmarks.png and .svg (benchmarks/results; "
        "a temporary one with --quick, --only or --front)",
    )
    parser.add_argument(
        "--redraw", type=Path, metavar="JSON", help="measure nothing: table and plot of an earlier run"
    )
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


def _temporary() -> Path:
    return Path(tempfile.mkdtemp(prefix="portico-results-"))


def _write(run: Run, folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(to_json(run))
    page = markdown(run)
    (folder / "results.md").write_text(page)
    print(page)
    try:
        plot.draw(run, folder)
    except plot.NoMatplotlib as why:
        _say(f"no plot: {why}")
    _say(f"written to {folder}")
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
