"""Properties, telemetry and commands of one device in the JSON of IoT Central (contract/central.md 22.2).

{"targetTemperature": 21.5, "thermostat1": {..., "$metadata": {...}},
 "$metadata": {"targetTemperature": {"desiredValue": 21.5, "desiredVersion": 3, "ackCode": 200, ...}}}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from moorage.analytics.rollups import Key, LastValue
from moorage.dialects.members import get_whole
from moorage.dialects.times import format_time
from moorage.errors import Invalid
from moorage.fleet.commands import CommandRun
from moorage.fleet.properties import PropertyState

__all__ = [
    "COMMAND_MEMBERS",
    "CommandBody",
    "command_json",
    "parse_command",
    "properties_json",
    "telemetry_json",
]

COMMAND_MEMBERS: Final = ("id", "request", "connectionTimeout", "responseTimeout", "response", "responseCode")
_METADATA: Final = "$metadata"


class CommandBody(NamedTuple):
    """`request` None is no payload."""

    request: Any
    connect_timeout_s: int
    response_timeout_s: int


def parse_command(body: Mapping[str, Any]) -> CommandBody:
    """Raises `Invalid` (`body.member`)."""
    return CommandBody(
        body.get("request"),
        _seconds(body, "connectionTimeout", least=0, default=0),
        _seconds(body, "responseTimeout", least=5, default=30),
    )


def command_json(run: CommandRun) -> dict[str, Any]:
    """What was asked and what came back; of one that is not answered, what was asked."""
    document: dict[str, Any] = {"id": run.run_id}
    for name, value in (("request", run.request), ("response", run.response), ("responseCode", run.status)):
        if value is not None:
            document[name] = value
    return document


def properties_json(
    states: Sequence[PropertyState], cloud: Mapping[str, Any], *, component: str | None = None
) -> dict[str, Any]:
    """Of the whole device, components as objects; with `component`, of that alone."""
    document = _of_part([state for state in states if state.key.component == (component or "")])
    if component is not None:
        return document
    for name in dict.fromkeys(state.key.component for state in states if state.key.component):
        part = _of_part([state for state in states if state.key.component == name])
        if len(part) > 1 or part[_METADATA]:
            document[name] = part
    # Behind what the device itself says.
    metadata = document.pop(_METADATA)
    return {**document, **cloud, _METADATA: metadata}


def telemetry_json(values: Mapping[Key, LastValue], component: str, name: str) -> dict[str, Any] | None:
    """The last value of `name`, put together again where it is an object; None when there is none.

    Where an object has changed its shape, the newer of two values that exclude each other is there.
    """
    found = values.get((component, name))
    if found is not None:
        return {"timestamp": format_time(found.at), "value": found.value}
    document: dict[str, Any] = {}
    latest: datetime | None = None
    for (part, path), last in sorted(values.items(), key=lambda item: item[1].at):
        if part != component or not path.startswith(name + "."):
            continue
        *above, leaf = path.removeprefix(name + ".").split(".")
        place = document
        for step in above:
            below = place.get(step)
            if not isinstance(below, dict):
                below = place[step] = {}
            place = below
        place[leaf] = last.value
        latest = last.at if latest is None else max(latest, last.at)
    return None if latest is None else {"timestamp": format_time(latest), "value": document}


def _of_part(states: Sequence[PropertyState]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    for state in states:
        if state.state == "unset":
            continue
        document[state.key.name] = state.value
        metadata[state.key.name] = _metadata_json(state)
    return {**document, _METADATA: metadata}


def _metadata_json(state: PropertyState) -> dict[str, Any]:
    document: dict[str, Any] = {}
    if state.desired_version is not None:
        document |= {"desiredValue": state.desired, "desiredVersion": state.desired_version}
    if state.updated:
        document["lastUpdateTime"] = state.updated
    if state.ack_code is not None:
        document |= {"ackVersion": state.ack_version, "ackDescription": state.ack_description}
        document["ackCode"] = state.ack_code
    return document


def _seconds(body: Mapping[str, Any], member: str, *, least: int, default: int) -> int:
    value = get_whole(body, member)
    if value is None:
        return default
    if not least <= value <= 30:
        raise Invalid("body.member", f"{member} is {value}, it has to be from {least} to 30 seconds")
    return value
