"""Recorded attempts: what a stranger can make them hold."""

from __future__ import annotations

from pathlib import Path

from moorage.adapters.attempts import SqliteAttempts
from moorage.attempts.model import Attempt
from moorage.errors import Check
from moorage.ids import DEFAULT_HUB
from tests.certs import NOW


def test_a_subject_of_sixteen_kilobytes_is_not_kept_once_for_every_check(tmp_path: Path) -> None:
    attempts = SqliteAttempts(tmp_path / "attempts.db", keep=100)
    long = "x" * 14_000
    checks = tuple(Check(f"chain.check_{number}", True, long) for number in range(25))
    refused = Attempt(
        at=NOW,
        hub=DEFAULT_HUB,
        door="hub.mqtt",
        tracking_id="A" * 32,
        address="192.0.2.7:40000",
        claimed_id=long,
        client=long,
        reason="chain.untrusted",
        message=long,
        fix=long,
        checks=checks,
    )
    attempts.append([refused] * 20)
    kept = attempts.find(DEFAULT_HUB, device=None, thumbprint=None, tracking_id=None, limit=1)[0]
    attempts.close()
    assert kept.message == long[:1999] + "\u2026"
    assert kept.client == long[:199] + "\u2026"
    assert [check.name for check in kept.checks] == [check.name for check in checks]
    assert (tmp_path / "attempts.db").stat().st_size < 1_000_000
