"""docs/reference/limits.md is made from the code (`make check`); here, that it forgets nothing and promises nothing."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from moorage.dialects.reasons import REASONS
from moorage.settings import SETTINGS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "limits.md").read_text()
ROWS = re.findall(r"^\| (?P<what>.+?) \| (?P<limit>.+?) \| (?P<beyond>.+?) \| `(?P<place>.+?)` \|$", PAGE, re.MULTILINE)

# What a peer reaches, for the most part before anybody knows who it is; every bound in there is in the table.
EXPOSED = (
    "attempts.recorder",
    "protocols.",
    "servers.",
    "pki.policy",
    "pki.validator",
    "pki.certificates",
    "pki.inputs",
    "pki.name_constraints",
)
# How bounds are called: numbers, bytes, seconds, so many of something or of it in a time.
BOUND = re.compile(r"_?(MAX_[A-Z_]+|[A-Z_]+_(S|BYTES|AT_ONCE)|[A-Z_]*PER_[A-Z]+)")
# Bounds on what is shown, remembered for speed, or a part of the protocol; sizes of buffers that come and go at once.
NOT_LIMITS = {
    "protocols.amqp.framing:_MIN_BEAT_S",
    "protocols.amqp.sessions:_MIN_FRAME_BYTES",
    "protocols.tls.engine:_READ_BYTES",
    "servers.amqp.events:_FEW_BYTES",
    "servers.amqp.stream:_CHEAP_S",
    "servers.amqp.stream:_MAX_CLAIM",
    "servers.amqp.stream:_MAX_PIECE",
    "servers.amqp.stream:_MAX_UNWRITTEN",
    "servers.amqp.stream:_PART_BYTES",
    "servers.amqp.stream:_TURN_S",
    "servers.amqp.tpm:_PART_BYTES",
    "servers.deliveries:_AT_ONCE_BYTES",
    "servers.http:_SLICE_BYTES",
    "servers.sheds:_TOLD_EVERY_S",
    "servers.timers:_AFTER_A_FAULT_S",
    "servers.turns:LOOK_OUT_S",
    "servers.turns:_WINDOW_S",
    "servers.websocket:_MAX_REASON",
    "pki.inputs:_MAX_WRAPPINGS",
    "pki.validator:_MAX_KNOWN_PATHS",
    "protocols.mqtt.codec:MAX_REMAINING_LENGTH",
    "servers.front_door:_MAX_INTERNED_BYTES",
    "servers.mqtt:_MAX_CLAIM",
    "servers.mqtt:_MAX_HOST",
}


def bounds() -> Iterator[str]:
    """`module:CONSTANT` of every bound, by its name, at the top of an exposed module."""
    folder = ROOT / "src" / "moorage"
    for path in sorted(folder.rglob("*.py")):
        module = ".".join(path.relative_to(folder).with_suffix("").parts)
        if not module.startswith(EXPOSED):
            continue
        for node in ast.parse(path.read_text()).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            for target in targets:
                if isinstance(target, ast.Name) and BOUND.fullmatch(target.id):
                    yield f"{module}:{target.id}"


def test_the_page_has_every_bound_that_a_stranger_meets() -> None:
    known = {place for _, _, _, place in ROWS}
    assert len(known) > 60
    missing = sorted(set(bounds()) - known - NOT_LIMITS)
    assert missing == [], "add it to scripts/limits_page.py and run `make reference`, or to NOT_LIMITS"


def test_the_limits_in_settings_are_settings() -> None:
    names = {setting.name for setting in SETTINGS}
    assert [place for _, _, _, place in ROWS if ":" not in place and place not in names] == []


def test_what_is_said_to_happen_is_a_reason() -> None:
    said = {reason for _, _, beyond, _ in ROWS for reason in re.findall(r"`([a-z_]+\.[a-z_]+)`", beyond)}
    assert sorted(said - set(REASONS)) == []
