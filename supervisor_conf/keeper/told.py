"""What a report of the law's cannot know: when the first output came, and whether the kernel was short of memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from supervisor_conf.control.messages import Report, Step
from supervisor_conf.law.journey import StartStep

FIRST_OUTPUT: Final = "first output"

_SHORT_OF_MEMORY: Final = (
    "The kernel ran out of memory and killed for it: give the app less to do, or the machine more."
)


@dataclass(frozen=True, slots=True)
class Told:
    """Of the process that ended last. `first_output`: seconds from its fork, -1 if it wrote nothing."""

    generation: int = 0
    first_output: float = -1.0
    out_of_memory: bool = False

    def complete(self, report: Report) -> Report:
        """The report with it, if it is that generation's."""
        if not self.generation or report.generation != self.generation:
            return report
        spawned = next((step.after for step in report.steps if step.name == StartStep.SPAWNED), None)
        if self.first_output >= 0 and spawned is not None:
            first = Step(FIRST_OUTPUT, round(spawned + self.first_output, 4))
            report = replace(report, steps=tuple(sorted((*report.steps, first), key=lambda step: step.after)))
        if self.out_of_memory:
            advice = (_SHORT_OF_MEMORY, *report.advice)
            report = replace(report, exit=f"{report.exit} (out of memory)", advice=advice)
        return report
