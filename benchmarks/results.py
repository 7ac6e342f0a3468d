"""What a run has seen: frozen, whole, one JSON file; and what follows from it (costs, ratios)."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.works import Work


@dataclass(frozen=True, slots=True)
class Sample:
    """One load on one front. `cpu`: seconds of CPU time of the front's processes meanwhile."""

    front: str
    work: str
    round: int
    operations: float
    seconds: float
    cpu: float
    errors: int

    @property
    def cost(self) -> float:
        """CPU microseconds of the front per operation."""
        return self.cpu / self.operations * 1e6

    @property
    def rate(self) -> float:
        """Operations a second of wall clock."""
        return self.operations / self.seconds


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds at a fixed `rate` (requests a second); the front DIRECT is the backend itself. `cost`: CPU
    microseconds of the front per request meanwhile, 0 for DIRECT. Well below saturation every message wakes
    somebody, and nothing is done in batches: it is more than under full load."""

    front: str
    round: int
    rate: float
    p50: float
    p99: float
    cost: float
    errors: int


@dataclass(frozen=True, slots=True)
class Idle:
    """`kib_each`: growth of the front's resident memory per idle connection. `alive`: of `asked` connections that
    were asked once more after their rest, how many answered."""

    front: str
    connections: int
    kib_each: float
    asked: int
    alive: int


DIRECT = "no front"
NGINX = "nginx"
PORTICO = "Portico"


@dataclass(frozen=True, slots=True)
class Run:
    """`left_out`: front and why; `troubles`: what could not be measured, one sentence each."""

    when: str
    seconds: int
    rounds: int
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    left_out: Mapping[str, str]
    troubles: tuple[str, ...] = ()
    samples: tuple[Sample, ...] = ()
    latencies: tuple[Latency, ...] = ()
    idles: tuple[Idle, ...] = ()

    @property
    def fronts(self) -> list[str]:
        """Fronts that were measured, in their order."""
        return list(self.versions)

    def samples_of(self, front: str, work: Work) -> dict[int, Sample]:
        """By round; only what has done anything."""
        return {
            sample.round: sample
            for sample in self.samples
            if sample.front == front and sample.work == work.key and sample.operations > 0
        }

    def cost(self, front: str, work: Work) -> float | None:
        """CPU microseconds per operation, the median of the rounds; None if it was not measured."""
        return self._median(front, work, lambda sample: sample.cost)

    def rate(self, front: str, work: Work) -> float | None:
        """Operations a second, the median of the rounds; None if it was not measured."""
        return self._median(front, work, lambda sample: sample.rate)

    def _median(self, front: str, work: Work, figure: Callable[[Sample], float]) -> float | None:
        samples = self.samples_of(front, work).values()
        return statistics.median(map(figure, samples)) if samples else None

    def ratio(self, front: str, other: str, work: Work) -> float | None:
        """Cost of `front` over cost of `other`, side by side in each round, the median of the rounds."""
        mine, theirs = self.samples_of(front, work), self.samples_of(other, work)
        both = [mine[number].cost / theirs[number].cost for number in mine.keys() & theirs.keys()]
        return statistics.median(both) if both else None

    def latency(self, front: str) -> Latency | None:
        """Each figure the median of the rounds, the errors of all of them."""
        seen = [latency for latency in self.latencies if latency.front == front]
        if not seen:
            return None
        figures = ("rate", "p50", "p99", "cost")
        medians = {name: statistics.median(getattr(latency, name) for latency in seen) for name in figures}
        return Latency(front, 0, **medians, errors=sum(latency.errors for latency in seen))

    def idle(self, front: str) -> Idle | None:
        return next((idle for idle in self.idles if idle.front == front), None)

    def errors(self) -> list[str]:
        """Every load that had errors, in words."""
        loads = [
            f"{sample.front}, {sample.work}, round {sample.round}: {sample.errors} errors in "
            f"{sample.operations:.0f} operations"
            for sample in self.samples
            if sample.errors
        ]
        slow = [
            f"{latency.front}, latency, round {latency.round}: {latency.errors} requests without a good answer"
            for latency in self.latencies
            if latency.errors
        ]
        dead = [
            f"{idle.front}, idle: {idle.asked - idle.alive} of {idle.asked} connections asked again had died"
            for idle in self.idles
            if idle.alive < idle.asked
        ]
        return [*self.troubles, *loads, *slow, *dead]


def to_json(run: Run) -> str:
    return json.dumps(dataclasses.asdict(run), indent=1) + "\n"


def from_json(text: str) -> Run:
    """A Run from `to_json`; other text raises KeyError, TypeError or ValueError."""
    data = json.loads(text)
    data["troubles"] = tuple(data["troubles"])
    data["samples"] = tuple(Sample(**sample) for sample in data["samples"])
    data["latencies"] = tuple(Latency(**latency) for latency in data["latencies"])
    data["idles"] = tuple(Idle(**idle) for idle in data["idles"])
    return Run(**data)
