"""A run as a picture, PNG and SVG, for the README: CPU time per operation as a ratio to nginx."""

from __future__ import annotations

from pathlib import Path

from benchmarks.results import NGINX, PORTICO, Run
from benchmarks.works import Work

COLOURS = {
    "HAProxy": "#6b7280",
    "Caddy": "#b4bac4",
    "Passenger": "#d9b98c",
    "gevent + h11": "#e3c9c9",
    PORTICO: "#1d6fd1",
}
"""Portico stands out; the others are quiet. What is not named is not drawn: nginx is the line at 1."""

INSTALL = "matplotlib is not installed: pip install --group bench (or pip install matplotlib)"


class NoMatplotlib(Exception):
    """No picture; the message says what to install."""


def draw(run: Run, folder: Path) -> list[Path]:
    """Write `benchmarks.png` and `benchmarks.svg` into `folder`; returns their paths. Raises NoMatplotlib."""
    try:
        import matplotlib
    except ImportError:
        raise NoMatplotlib(INSTALL) from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    works = [work for work in Work if run.ratio(PORTICO, NGINX, work) is not None]
    fronts = [front for front in COLOURS if front in run.fronts]
    with pyplot.rc_context({"font.size": 9, "svg.hashsalt": "portico"}):
        figure, axes = pyplot.subplots(figsize=(9, 1.6 + 0.85 * len(works)), layout="constrained")
        thickness = 0.84 / len(fronts)
        for place, front in enumerate(fronts):
            for row, work in enumerate(works):
                ratio = run.ratio(front, NGINX, work)
                if ratio is None:
                    continue
                at = row - 0.42 + thickness * (place + 0.5)
                label = front if row == 0 else None
                # On a logarithmic axis a bar says something only from 1 on, to either side.
                axes.barh(at, ratio - 1, thickness * 0.92, left=1, color=COLOURS[front], label=label)
                dearer = ratio >= 1
                axes.text(
                    ratio * (1.03 if dearer else 0.97),
                    at,
                    f"{ratio:.2f}",
                    va="center",
                    ha="left" if dearer else "right",
                    fontsize=7,
                    fontweight="bold" if front == PORTICO else "normal",
                )
        axes.set_xscale("log")
        axes.axvline(1.0, color="#111827", linewidth=1.2, label=NGINX)
        axes.margins(x=0.1)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} x")
        axes.set_yticks(range(len(works)), [_label(run, work) for work in works])
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel(
            "CPU time of the front per operation, nginx = 1 (logarithmic; further left is better)"
        )
        figure.legend(loc="outside upper center", ncols=len(fronts) + 1, frameon=False)
        figure.supxlabel(caption(run), fontsize=6.5, color="#4b5563")
        paths = [folder / "benchmarks.png", folder / "benchmarks.svg"]
        for path in paths:
            metadata = {"Date": None} if path.suffix == ".svg" else None
            figure.savefig(path, dpi=160, metadata=metadata)
        pyplot.close(figure)
    return paths


def caption(run: Run) -> str:
    """Where, when and with what."""
    machine = run.machine
    versions = ", ".join(f"{name} {run.versions[name]}" for name in (NGINX, *COLOURS) if name in run.versions)
    where = (
        f"{machine['processor']}, {machine['cores']} cores, Linux {machine['kernel']}, {machine['system']}"
    )
    return (
        f"{run.when}. {where}.\n"
        f"{versions}, Python {machine['python']}. The front on one core; {run.rounds} x {run.seconds} s, interleaved."
    )


def _label(run: Run, work: Work) -> str:
    cost = run.cost(PORTICO, work)
    return f"{work.plan.title}\nPortico: {cost:,.0f} µs"
