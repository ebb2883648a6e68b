"""Rows of raw data: a stored message or a run of a command as people read it (contract/central.md 9.1, RAW-1..6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from moorage.dialects.json_text import parse_json
from moorage.dialects.telemetry_json import telemetry_json
from moorage.dialects.times import format_time
from moorage.dtdl.model import Interface
from moorage.errors import Invalid
from moorage.fleet.aliases import Alias, map_data
from moorage.fleet.commands import CommandRun
from moorage.fleet.raw_data import ColumnKey, Reading, read_properties, read_telemetry
from moorage.hub.digital_twins import command_method
from moorage.hub.telemetry_log import StoredMessage
from moorage.web.values import json_text, value_text

__all__ = ["MAX_SHOWN", "DataCell", "DataRow", "command_row", "message_row"]

# Of a body: fifty of the largest ones, indented, would be a page of gigabytes.
MAX_SHOWN: Final = 16 * 1024
_HEX_BYTES: Final = 256
_CREATED: Final = "iothub-creation-time-utc"
_TELEMETRY: Final = "Telemetry"
# What the hub itself tells, by its source.
_TOLD: Final = {
    "twinChangeEvents": "Property change",
    "deviceLifecycleEvents": "Lifecycle",
    "deviceConnectionStateEvents": "Connection",
    "digitalTwinChangeEvents": "Digital twin change",
    "deviceJobLifecycleEvents": "Job",
}


@dataclass(frozen=True, slots=True)
class DataCell:
    """`problem` is the sentence why the value does not fit its schema."""

    text: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class DataRow:
    """One event.

    Attributes:
        kind: event type, as people call it; `detail` says more of it.
        cells: one for each column that is shown.
        unmodelled: in one line.
        note: why it is shown as bytes, or how it was read; `is_bad` when that is a fault.
        problems: (capability, sentence) of values that do not fit, whether or not their columns are shown.
        text: the body, indented, or its bytes; `more`: everything that is known of the event.
        whole: of a body that is not shown whole, where the log has it.
    """

    at: datetime
    kind: str
    detail: str = ""
    component: str = ""
    module: str = ""
    cells: Sequence[DataCell] = ()
    unmodelled: str = ""
    note: str = ""
    is_bad: bool = False
    problems: Sequence[tuple[str, str]] = field(default=())
    text: str = ""
    more: str = ""
    is_body_shown: bool = False
    whole: int | None = None
    paths: Sequence[str] = ()


def message_row(
    message: StoredMessage, interface: Interface | None, aliases: Sequence[Alias], columns: Sequence[ColumnKey]
) -> DataRow:
    """For a thread: a body may have 256 KiB."""
    shown = telemetry_json(message)
    system: dict[str, Any] = shown["systemProperties"]
    is_json = "body" in shown
    body = shown.pop("body" if is_json else "bodyBase64")
    note, is_bad, text = "", False, ""
    if not is_json:
        try:
            body = parse_json(message.body, what="the body")
        except Invalid as refusal:
            note, is_bad, text = f"Not JSON: {refusal.message}", True, _hex(message.body)
        else:
            is_json = True
            said = str(system.get("content-type", ""))
            note = f"Read as JSON, though {f'the content type is {said!r}' if said else 'no content type was given'}"
    source = message.source.message_source
    component = str(system.get("dt-subject", ""))
    reading, detail = _read(source, component, interface, body, is_module=message.source.module_id is not None)
    if not is_json:
        reading = Reading()
    elif reading.problem and source == _TELEMETRY:
        note, is_bad = f"{reading.problem[:1].upper()}{reading.problem[1:]}", True
    if len(message.body) > MAX_SHOWN:
        text = message.body[:MAX_SHOWN].decode("utf-8", "replace")
        long = f"Too long for a page: the first {MAX_SHOWN} of {len(message.body)} bytes"
        note = f"{note}. {long}" if note else long
    elif is_json:
        text = json_text(body, most=2 * MAX_SHOWN)
    mapped = map_data(aliases, body) if is_json and source == _TELEMETRY else {}
    return DataRow(
        at=message.enqueued_time,
        kind=_TELEMETRY if source == _TELEMETRY else _TOLD.get(source, source),
        detail=detail,
        component=component,
        module=message.source.module_id or "",
        cells=[_cell(reading, key) for key in columns],
        unmodelled=_unmodelled(reading.unmodelled, mapped),
        note=note,
        is_bad=is_bad or bool(reading.problems),
        problems=[(str(key), why) for key, why in reading.problems],
        text=text,
        more=json_text({**_central(message, system, reading, mapped), **shown}, most=2 * MAX_SHOWN),
        is_body_shown=is_bad or not is_json,
        whole=message.offset if len(message.body) > (MAX_SHOWN if is_json else _HEX_BYTES) else None,
        paths=_paths(reading.unmodelled) if source == _TELEMETRY else (),
    )


def command_row(run: CommandRun, columns: int) -> DataRow:
    method = command_method(run.command, run.component or None)
    response = {} if run.status is None else {"response": run.response, "responseCode": run.status}
    more = {
        "_eventtype": "Command",
        "_timestamp": format_time(run.started),
        "id": run.run_id,
        "command": method,
        "request": run.request,
        **response,
        "by": run.by,
        **({"reason": run.reason} if run.reason else {}),
    }
    return DataRow(
        at=run.started,
        kind="Command",
        detail=run.command,
        component=run.component,
        module=run.name.module_id or "",
        cells=[DataCell()] * columns,
        unmodelled="",
        note=run.message,
        is_bad=bool(run.reason),
        text=json_text({"request": run.request, **response}, most=2 * MAX_SHOWN),
        more=json_text(more, most=2 * MAX_SHOWN),
    )


def _read(
    source: str, component: str, interface: Interface | None, body: Any, *, is_module: bool
) -> tuple[Reading, str]:
    """What it says, and a word more on what it is. A module has a model of its own, which is not known here."""
    if source == _TELEMETRY:
        return read_telemetry(None if is_module else interface, component, body), ""
    if source != "twinChangeEvents" or not isinstance(body, Mapping):
        return Reading(), ""
    reading, sections = Reading(), body.get("properties", {})
    told: list[str] = []
    for section in ("desired", "reported"):
        patch = sections.get(section) if isinstance(sections, Mapping) else None
        if isinstance(patch, Mapping):
            told.append(section)
            found = read_properties(None if is_module else interface, section, patch)
            reading.cells |= found.cells
            reading.unmodelled |= found.unmodelled
    if "tags" in body:
        told.append("tags")
        reading.unmodelled["tags"] = body["tags"]
    return reading, " and ".join(told)


def _cell(reading: Reading, key: ColumnKey) -> DataCell:
    found = reading.cells.get(key)
    return DataCell() if found is None else DataCell(value_text(found.value), found.problem)


def _unmodelled(values: Mapping[str, Any], mapped: Mapping[str, Any]) -> str:
    shown = {**values, **mapped}
    return value_text(shown) if shown else ""


def _paths(values: Mapping[str, Any]) -> list[str]:
    """Places that an alias may be made for: the first leaves of unmodelled data."""
    found: list[str] = []

    def walk(value: Any, path: str) -> None:
        if len(found) >= 4:
            return
        if isinstance(value, Mapping) and value:
            for name, each in value.items():
                escaped = str(name).replace("\\", "\\\\").replace('"', '\\"')
                walk(each, f'{path}["{escaped}"]')
        elif len(path) < 300:
            found.append(path)

    walk(values, "$")
    return [path for path in found if path != "$"]


def _central(
    message: StoredMessage, system: Mapping[str, Any], reading: Reading, mapped: Mapping[str, Any]
) -> dict[str, Any]:
    """The members that IoT Central's raw data has (RAW-4)."""
    enqueued = format_time(message.enqueued_time)
    return {
        "_eventtype": message.source.message_source,
        "_timestamp": enqueued,
        "_eventcreationtime": system.get(_CREATED) or enqueued,
        **({"_unmodeleddata": reading.unmodelled} if reading.unmodelled else {}),
        **({"_mappeddata": dict(mapped)} if mapped else {}),
    }


def _hex(body: bytes) -> str:
    """Lines of 16 bytes, with what is printable of them."""
    lines = []
    for at in range(0, min(len(body), _HEX_BYTES), 16):
        part = body[at : at + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{at:04x}  {part.hex(' '):<47}  {text}")
    if len(body) > _HEX_BYTES:
        lines.append(f"... {len(body) - _HEX_BYTES} bytes more")
    return "\n".join(lines)
