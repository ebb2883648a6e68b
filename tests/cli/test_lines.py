"""Telemetry and attempts as lines for people, whatever a device put into them."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from moorage.cli.explain import _in_a_line, _in_full
from moorage.cli.output import escape_time
from moorage.cli.telemetry import _line

EVIL = "a\x1b[2J\u202e\nb"
SHOWN = "a\\x1b[2J\\u202e\\nb"


def message(**members: Any) -> dict[str, Any]:
    return {"deviceId": "pump", "moduleId": None, "enqueuedTime": "2030-01-01T00:00:00.0000000Z", **members}


def attempt(**members: Any) -> dict[str, Any]:
    return {
        "at": "2030-01-01T00:00:00.2500000Z",
        "trackingId": "AB12",
        "door": "hub.mqtt",
        "address": "10.0.0.7:50000",
        "claimedId": EVIL,
        "credential": "x509",
        "tlsVersion": "TLSv1.3",
        "client": EVIL,
        "accepted": False,
        "reason": "chain.expired",
        "message": f"'CN={EVIL}' was valid until 2029",
        "fix": "",
        "checks": [],
        "chain": [],
        **members,
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2030-01-01T00:00:00.0000000Z", "2030-01-01T00:00:00Z"),
        ("2030-01-01T00:00:00.0500000Z", "2030-01-01T00:00:00.050Z"),
        ("2030-01-01T00:00:00Z", "2030-01-01T00:00:00Z"),
    ],
)
def test_times_are_cut_to_what_people_read(text: str, shown: str) -> None:
    assert escape_time(text) == shown


@pytest.mark.parametrize(
    ("members", "line"),
    [
        ({"body": {"t": 1, "e": EVIL}}, '2030-01-01T00:00:00Z pump {"t": 1, "e": "a\\u001b[2J\\u202e\\nb"}'),
        ({"bodyBase64": base64.b64encode(EVIL.encode()).decode()}, f"2030-01-01T00:00:00Z pump {SHOWN}"),
        ({"bodyBase64": "//79"}, "2030-01-01T00:00:00Z pump 3 bytes, base64 //79"),
        (
            {"body": 1, "moduleId": "m", "properties": {EVIL: EVIL, "k": None}},
            f"2030-01-01T00:00:00Z pump/m 1 {SHOWN}={SHOWN} k",
        ),
    ],
)
def test_a_message_is_one_printable_line(members: dict[str, Any], line: str) -> None:
    assert _line(message(**members)) == line


def test_an_attempt_in_full_is_printable_whatever_the_peer_sent() -> None:
    certificate = {
        "subject": f"CN={EVIL}",
        "issuer": f"CN={EVIL}",
        "key": "EC P-256",
        "isCA": False,
        "notBefore": "2029-01-01T00:00:00.0000000Z",
        "notAfter": "2029-06-01T00:00:00.0000000Z",
        "sha256Thumbprint": "AB" * 32,
    }
    checks = [
        {"name": "chain.empty", "passed": True, "detail": ""},
        {"name": "chain.expired", "passed": False, "detail": EVIL},
        {"name": "chain.untrusted", "passed": None, "detail": ""},
    ]
    lines = _in_full(
        attempt(
            chain=[certificate, {"certificate": "AAAA", "unreadable": EVIL}], checks=checks, fix="moorage cert device"
        )
    )
    assert all(line.isprintable() for line in lines)
    text = "\n".join(lines)
    for part in (
        "refused: chain.expired",
        f"client    {SHOWN}",
        f"CN={SHOWN}",
        f"unreadable: {SHOWN}",
        "not reached chain.untrusted",
    ):
        assert part in text
    assert "FAILED      chain.expired" in text
    assert "Fix  moorage cert device" in text


def test_an_accepted_attempt_gives_no_reason() -> None:
    lines = _in_full(attempt(accepted=True, reason=None, message="", claimedId="pump", tlsVersion="", client=""))
    assert lines[0] == "pump let in"
    assert not any("client" in line for line in lines)
    assert not any("Why" in line for line in lines)


def test_other_attempts_are_a_line_each_with_the_id_that_shows_them() -> None:
    assert _in_a_line(attempt()) == f"2030-01-01T00:00:00.250Z  {SHOWN}  hub.mqtt  chain.expired  AB12"
