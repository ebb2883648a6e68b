"""`make bench-fleet` says when a limit is passed; nothing is measured here."""

from __future__ import annotations

from typing import Any

import pytest
from bench.fleet import failures, flatness, report


def _measured(import_s: float = 20.0, listing: float = 20.0, statistics: float = 1.0) -> dict[str, Any]:
    def asked(listing: float, statistics: float) -> dict[str, list[float]]:
        return {"list": [listing, 1.0, 500.0], "statistics": [statistics, 0.1, 90.0]}

    return {
        "devices": 100_000,
        "import_s": import_s,
        "hub_cpu_s": 18.0,
        "client_cpu_s": 3.0,
        "before": asked(20.0, 1.0),
        "during": asked(40.0, 3.0),
        "after": asked(listing, statistics),
    }


def test_what_is_at_its_limit_passes() -> None:
    measured = _measured(import_s=60.0, listing=30.0)
    assert failures(measured) == []
    assert flatness(measured, "list") == pytest.approx(1.5)
    assert "100,000 devices imported in 60.0 s, 1,667 a second; limit 60 s" in report(measured)
    # Many times as long, and still next to nothing.
    assert failures(_measured(statistics=5.0)) == []


@pytest.mark.parametrize(
    ("measured", "sentence"),
    [
        (_measured(import_s=61.0), "100,000 devices took 61.0 s, the limit is 60 s"),
        (_measured(listing=32.0), "list takes 1.60 times as long, the limit is 1.5"),
        (_measured(statistics=7.0), "statistics takes 7.00 times as long, the limit is 1.5"),
    ],
)
def test_what_is_past_its_limit_is_named(measured: dict[str, Any], sentence: str) -> None:
    assert failures(measured) == [sentence]
