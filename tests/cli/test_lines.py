"""Telemetry and attempts as lines for people, whatever a device put into them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from moorage.cli.explain import _heading, _in_a_line, _in_full
from moorage.cli.file import _save
from moorage.cli.hub_client import _events, _lines
from moorage.cli.output import escape_time
from moorage.cli.telemetry import _line
from moorage.dialects.json_text import encode_json
from moorage.errors import Unavailable

EVIL = "a\x1b[2J\u202e\nb"
SHOWN = "a\\x1b[2J\\u202e\\nb"


def message(**members: Any) -> dict[str, Any]:
    document = {"deviceId": "pump", "moduleId": None, "enqueuedTime": "2030-01-01T00:00:00.0000000Z"}
    return {**document, "systemProperties": {"iothub-message-source": "Telemetry"}, **members}


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
        ),
        every_check=True,
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
    lines = _in_full(
        attempt(accepted=True, reason=None, message="", claimedId="pump", tlsVersion="", client=""), every_check=True
    )
    assert lines[0] == "pump let in"
    assert not any("client" in line for line in lines)
    assert not any("Why" in line for line in lines)


def test_other_attempts_are_a_line_each_with_the_id_that_shows_them() -> None:
    assert _in_a_line(attempt()) == f"2030-01-01T00:00:00.250Z  {SHOWN}  hub.mqtt  chain.expired  AB12"


def test_checks_in_short_are_a_line_for_each_certificate_and_say_why_once() -> None:
    chain = [
        {
            "subject": f"CN={name}",
            "issuer": "CN=root",
            "key": "EC P-256",
            "isCA": False,
            "notBefore": "2029-01-01T00:00:00Z",
            "notAfter": "2029-06-01T00:00:00Z",
            "sha256Thumbprint": "AB" * 32,
        }
        for name in ("pump", "line")
    ]
    why = "'CN=line' was valid until 2029"
    checks: list[dict[str, Any]] = [{"name": "identity.unknown", "passed": True, "detail": ""}]
    checks += [{"name": f"chain.{n}", "passed": True, "detail": "CN=pump"} for n in range(9)]
    checks += [{"name": f"chain.{n}", "passed": True, "detail": "CN=line"} for n in range(2)]
    checks += [{"name": "chain.expired", "passed": False, "detail": why}]
    checks += [{"name": "identity.mismatch", "passed": None, "detail": ""}]
    lines = _in_full(attempt(chain=chain, checks=checks, message=why), every_check=False)
    assert lines[lines.index("Checks") + 1 :] == [
        "  passed      1 check",
        "  passed      9 checks of CN=pump",
        "  passed      2 checks of CN=line",
        "  FAILED      chain.expired",
        "  not reached 1 check",
        "  --all lists them",
        "",
        f"Why  {why}",
    ]


@pytest.mark.parametrize(
    ("seconds", "age"),
    [(-5, "0 seconds"), (1, "1 second"), (59, "59 seconds"), (725, "12 minutes"), (7200, "2 hours"), (90000, "1 day")],
)
def test_what_nobody_asked_for_by_name_says_first_whose_it_is_and_how_old(seconds: int, age: str) -> None:
    now = datetime(2030, 1, 1, 0, 0, 0, 250000, UTC) + timedelta(seconds=seconds)
    assert _heading(attempt(), now).startswith(f"Latest refusal, {age} ago, of {SHOWN};")
    nameless = _heading(attempt(accepted=True, claimedId=""), now)
    assert nameless.startswith(f"Latest attempt, {age} ago, of somebody who gave no name;")


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_what_a_device_sent_does_not_end_a_line_of_the_stream(size: int) -> None:
    document = {"body": "a\u2028b\u2029c\x85d\x1ce\r\nf"}
    stream = b": following\n\nid: 7\nevent: message\ndata: %b\n\nevent: ended\r\ndata: {}\r\n\r\n" % encode_json(
        document
    )
    events = list(_events(_lines(stream[at : at + size] for at in range(0, len(stream), size))))
    assert [(each.name, json.loads(each.data), each.at) for each in events] == [
        ("message", document, "7"),
        ("ended", {}, ""),
    ]


def test_half_of_a_file_does_not_stand_in_the_way_of_the_next_try(tmp_path: Path) -> None:
    def cut_off() -> Iterator[bytes]:
        yield b"2"
        raise Unavailable("hub.unreachable", "it ended")

    where = tmp_path / "got"
    with pytest.raises(Unavailable):
        _save(where, b"1", cut_off(), is_new=True)
    assert not where.exists()
    assert _save(where, b"1", iter([b"23"]), is_new=True) == 3
    with pytest.raises(FileExistsError):
        _save(where, b"4", iter([]), is_new=True)
    assert where.read_bytes() == b"123"
