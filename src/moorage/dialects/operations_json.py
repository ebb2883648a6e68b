"""*Device operations* in the JSON of our own API: one act on many devices, and how far it is (contract/central.md 10).

{"act": "migrate", "to": "dtmi:...;1", "devices": ["pump-01"]}
{"act": "approve", "filter": {"state": "waiting", "organization": "north"}}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from moorage.dialects.members import check_members, get_choice, get_object, get_text, get_texts, need_text
from moorage.dialects.times import format_time
from moorage.errors import Invalid
from moorage.fleet.bulk import ACT_WORDS, CONNECTED_WORDS, DeviceWords
from moorage.fleet.model import STATES
from moorage.fleet.operation_model import ItemError, Operation
from moorage.ids import DeviceId, parse_device_id

__all__ = ["FILTER_WORDS", "AskedAct", "item_error_json", "operation_json", "parse_act", "parse_filter"]

# What a filter is made of, for bodies and query strings.
FILTER_WORDS: Final = ("text", "state", "template", "organization", "connected")
_STATES: Final[Mapping[str, str]] = {state: state for state in STATES}
_CONNECTED: Final = {word: word for word in CONNECTED_WORDS}
# Longer than an id and a name together, without case: so what is cut finds no more than the whole would have.
_MAX_TEXT: Final = 600


class AskedAct(NamedTuple):
    """`devices` is empty where `wanted` says which."""

    word: str
    to: str
    devices: list[DeviceId]
    wanted: DeviceWords | None


def parse_act(body: Mapping[str, Any]) -> AskedAct:
    """Raises `Invalid` (`body.member`, `id.device`)."""
    check_members(body, ("act", "to", "devices", "filter"))
    word = need_text(body, "act")
    if word not in ACT_WORDS:
        raise Invalid("body.member", f"act is {word[:40]!r}, it has to be one of {', '.join(ACT_WORDS)}")
    chosen = get_object(body, "filter")
    if (chosen is None) == (body.get("devices") is None):
        raise Invalid("body.member", "devices are named, or found by a filter: one of the two has to be there")
    devices = [parse_device_id(each) for each in dict.fromkeys(get_texts(body, "devices"))]
    return AskedAct(
        word, get_text(body, "to") or "", devices, None if chosen is None else parse_filter(chosen, "filter")
    )


def parse_filter(words: Mapping[str, Any], path: str = "") -> DeviceWords:
    """Of a body, or of a query string. An empty one is every device. Raises `Invalid` (`body.member`)."""
    check_members(words, FILTER_WORDS, path)
    within = f"{path}." if path else ""
    given = {name: value for name, value in words.items() if value != ""}
    return DeviceWords(
        text=(get_text(given, "text", f"{within}text") or "").strip()[:_MAX_TEXT],
        state=get_choice(given, "state", _STATES, f"{within}state") or "",
        template=get_text(given, "template", f"{within}template") or "",
        organization=get_text(given, "organization", f"{within}organization") or "",
        connected=get_choice(given, "connected", _CONNECTED, f"{within}connected") or "",
    )


def operation_json(operation: Operation) -> dict[str, Any]:
    document: dict[str, Any] = {
        "id": operation.operation_id,
        "title": operation.title,
        "state": operation.state,
        "total": operation.total,
        "done": operation.done,
        "failed": operation.failed,
        "started": format_time(operation.started),
    }
    if operation.ended is not None:
        document["ended"] = format_time(operation.ended)
    if operation.message:
        document["message"] = operation.message
    return document


def item_error_json(error: ItemError) -> dict[str, str]:
    return {"item": error.item, "reason": error.reason, "message": error.message}
