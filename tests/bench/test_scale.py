"""`make bench` says when a limit is passed; nothing is measured here."""

from __future__ import annotations

from typing import Any

import pytest
from bench.scale import failures, ratio, report


def _ready(first: float = 0.5, killed: float = 0.5) -> dict[str, Any]:
    return {
        "first": [first, 0.1, 9.0],
        "killed": [killed, 0.1, 9.0],
        "log_bytes": 10_000_000_000,
        "messages": 1,
        "devices": 100_000,
    }


def _connect(cold: float = 1.0, warm: float = 1.0) -> dict[str, Any]:
    def state(times: float) -> dict[str, dict[str, float]]:
        return {"few": {"cpu_us": 1000.0, "p50_ms": 10.0}, "many": {"cpu_us": 1000.0 * times, "p50_ms": 10.0 * times}}

    # The median counts: one round of three met something else.
    odd = dict.fromkeys(("cold", "warm", "from disk"), state(9.0))
    rounds = [{"cold": state(cold), "warm": state(warm), "from disk": state(1.4)} for _ in range(2)] + [odd]
    return {"registered": 1_000_000, "connecting": 1000, "rounds": rounds}


def test_what_is_at_its_limit_passes() -> None:
    ready, connect = _ready(first=2.0, killed=2.0), _connect(cold=1.2, warm=1.2)
    assert failures(ready, connect) == []
    assert ratio(connect, "cold", "p50_ms") == pytest.approx(1.2)
    assert "2.00 s, at most 9.00 s of 3; limit 2 s" in report(ready, connect)
    assert "1.20 times the CPU (1000 and 1200 µs)" in report(ready, connect)
    assert "1.40 times the CPU (1000 and 1400 µs), 1.40 times as long; reported" in report(ready, connect)


@pytest.mark.parametrize(
    ("ready", "connect", "sentence"),
    [
        (_ready(first=2.01), _connect(), "ready at first start after 2.01 s, the limit is 2 s"),
        (_ready(killed=2.5), _connect(), "ready after kill -9 after 2.50 s, the limit is 2 s"),
        (_ready(), _connect(cold=1.25), "a cold connect costs 1.25 times as much, the limit is 1.2"),
        (_ready(), _connect(warm=1.3), "a warm connect costs 1.30 times as much, the limit is 1.2"),
    ],
)
def test_what_is_past_its_limit_is_named(ready: dict[str, Any], connect: dict[str, Any], sentence: str) -> None:
    assert failures(ready, connect) == [sentence]
