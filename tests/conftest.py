"""Hypothesis profiles: `fast` for every run, `deep` for `tox -e deep`."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile("fast", deadline=None, derandomize=True, max_examples=100)
settings.register_profile(
    "deep",
    deadline=None,
    max_examples=20_000,
    suppress_health_check=[HealthCheck.too_slow],
    stateful_step_count=100,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))
