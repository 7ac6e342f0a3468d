"""Medians, ratios, the table and the aims, from a run made up here."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from benchmarks import plot
from benchmarks.results import DIRECT, Idle, Latency, Run, Sample, from_json, to_json
from benchmarks.table import AIMS, markdown, table
from benchmarks.works import Work


def sample(front: str, round_: int, cost: float, work: Work = Work.GET, errors: int = 0) -> Sample:
    """A thousand operations in half a second, `cost` microseconds each."""
    return Sample(front, work.key, round_, 1000, 0.5, cost / 1000, errors)


RUN = Run(
    when="2026-11-23 02:00 UTC",
    seconds=1,
    rounds=3,
    machine={"processor": "P", "cores": "2", "kernel": "6.1", "system": "Debian", "python": "3.11"},
    versions={"nginx": "1.22", "Portico": "0.1"},
    left_out={"Caddy": "not installed: apt-get install caddy"},
    samples=(
        *(sample("nginx", number, cost) for number, cost in ((1, 10.0), (2, 20.0), (3, 40.0))),
        *(sample("Portico", number, cost) for number, cost in ((1, 15.0), (2, 32.0), (3, 60.0))),
    ),
    latencies=(Latency(DIRECT, 1, 900, 0.1, 0.5, 0.0, 0), Latency("Portico", 1, 900, 0.3, 1.75, 200.0, 0)),
    idles=(Idle("Portico", 5000, 3.5, 100, 100),),
)


def test_costs_and_rates_are_medians() -> None:
    assert RUN.cost("nginx", Work.GET) == pytest.approx(20.0)
    assert RUN.rate("nginx", Work.GET) == pytest.approx(2000)


def test_a_ratio_compares_within_a_round() -> None:
    # 1.5, 1.6, 1.5: the machine's slowness in the later rounds has no say in it.
    assert RUN.ratio("Portico", "nginx", Work.GET) == pytest.approx(1.5)


def test_what_was_not_measured_has_no_figure() -> None:
    assert RUN.cost("Portico", Work.POST) is None
    assert RUN.ratio("Portico", "Caddy", Work.GET) is None
    assert RUN.latency("nginx") is None


def test_a_load_that_did_nothing_has_no_cost() -> None:
    run = dataclasses.replace(RUN, samples=(Sample("nginx", "get", 1, 0, 1.0, 0.1, 7),))
    assert run.cost("nginx", Work.GET) is None
    assert run.errors() == ["nginx, get, round 1: 7 errors in 0 operations"]


def test_json_gives_the_same_run_back() -> None:
    assert from_json(to_json(RUN)) == RUN


def test_the_page_names_machine_versions_and_who_is_missing() -> None:
    page = markdown(RUN)
    assert "P, 2 cores, Linux 6.1, Debian, Python 3.11. 3 rounds of 1 s" in page
    assert "nginx 1.22; Portico 0.1" in page
    assert "Left out: Caddy (not installed: apt-get install caddy)." in page
    assert "| GET, 63 bytes of JSON | 20.0 | 32.0 |" in page
    assert "| GET, 63 bytes of JSON | 1.00 | 1.50 |" in page
    assert "| Portico | 900 | 0.300 | 1.750 | 200 | 3.50 |" in page
    assert "What went wrong" not in page


def test_aims_are_judged() -> None:
    page = markdown(RUN)
    assert "| GET, 63 bytes of JSON | 1.7 x nginx | 1.50 | reached |" in page
    assert "| GET, 63 bytes of JSON | 0.35 x Caddy | - | not measured |" in page
    assert "| p99 added to the direct connection's | 1 ms | 1.25 | missed |" in page
    assert "| memory of an idle connection | 4 KiB | 3.50 | reached |" in page
    assert page.count(" x ") >= len(AIMS)


def test_errors_are_shown() -> None:
    broken = dataclasses.replace(
        RUN,
        troubles=("Portico, up-10m, round 1: reset",),
        samples=(sample("nginx", 1, 10.0, errors=2),),
        latencies=(Latency("Portico", 1, 900, 1, 1, 1, 4),),
        idles=(Idle("Portico", 5000, 1.0, 100, 98),),
    )
    page = markdown(broken)
    for line in (
        "- Portico, up-10m, round 1: reset",
        "- nginx, get, round 1: 2 errors in 1000 operations",
        "- Portico, latency, round 1: 4 requests without a good answer",
        "- Portico, idle: 2 of 100 connections asked again had died",
    ):
        assert line in page


def test_a_table_is_markdown() -> None:
    assert table(["", "a"], [["x", "1"]]) == "|  | a |\n| --- | ---: |\n| x | 1 |\n"


def test_the_caption_of_the_plot_names_what_is_drawn() -> None:
    assert plot.caption(RUN).splitlines()[1].startswith("nginx 1.22, Portico 0.1, Python 3.11.")


def test_without_matplotlib_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(plot.NoMatplotlib, match="pip install"):
        plot.draw(RUN, tmp_path)
