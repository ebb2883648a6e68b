"""`moorage telemetry tail`: what is stored, then what arrives, from the hub's event stream."""

from __future__ import annotations

import base64
import json
import shlex
from datetime import UTC, datetime
from typing import Any

import click

from moorage.cli.commands import Group, Invocation, pass_invocation
from moorage.cli.output import escape, escape_time, print_json, print_refusal, print_table, style
from moorage.errors import Invalid, Refusal, Unavailable

__all__ = ["telemetry"]

_STREAM = "/moorage/v1/telemetry/stream"
_EVENTS = "/moorage/v1/events"
_TELEMETRY = "Telemetry"


@click.group(cls=Group)
def telemetry() -> None:
    """Read what devices sent."""


@telemetry.command("tail")
@click.option("--device", help="Only from this device and its modules.")
@click.option(
    "--from",
    "start",
    default="start",
    show_default=True,
    metavar="start|now|TIME",
    help="The oldest kept, only what arrives from now on, or an ISO 8601 time.",
)
@click.option("--count", type=click.IntRange(min=1), help="End after so many messages.  [default: follow for ever]")
@pass_invocation
def tail(invocation: Invocation, device: str | None, start: str, count: int | None) -> None:
    """Print stored telemetry, then follow.

    With --json one object a line: deviceId moduleId partition sequenceNumber offset enqueuedTime systemProperties
    properties body, where `body` is parsed when it is JSON and says so; otherwise there is bodyBase64.
    """
    query = {"from": _start(start)}
    if device is not None:
        query["device"] = device
    printed = 0
    hub = invocation.hub()
    for event, data in hub.follow(_STREAM, query):
        message = json.loads(data)
        if event != "message":
            # Records that a damaged disk no longer gives back, behind which it goes on; or why the stream ends here.
            print_refusal(
                Refusal(message["reason"], message["message"], fix=message.get("fix", "")), invocation.as_json
            )
            continue
        if invocation.as_json:
            print_json(message)
        else:
            click.echo(_line(message))
        printed += 1
        if count is not None and printed >= count:
            return
    raise Unavailable(
        "hub.unreachable", "the hub has ended the stream", fix=f"moorage up --data {shlex.quote(str(invocation.data))}"
    )


@telemetry.command("sources")
@click.option("--on", multiple=True, metavar="SOURCE", help="Tell of it. Repeatable.")
@click.option("--off", multiple=True, metavar="SOURCE", help="Tell nobody of it, whatever routes ask for. Repeatable.")
@click.option(
    "--default", "back", multiple=True, metavar="SOURCE", help="As the setting and the routes say. Repeatable."
)
@pass_invocation
def sources(invocation: Invocation, on: tuple[str, ...], off: tuple[str, ...], back: tuple[str, ...]) -> None:
    """List the hub's own events, or switch them on and off.

    They go into the same log as what devices send, and to `moorage telemetry tail`: twinChangeEvents,
    deviceLifecycleEvents, deviceConnectionStateEvents, digitalTwinChangeEvents, deviceJobLifecycleEvents.
    """
    hub = invocation.hub()
    switches = {**dict.fromkeys(on, True), **dict.fromkeys(off, False), **dict.fromkeys(back)}
    states = hub.request("PATCH", _EVENTS, body=switches) if switches else hub.request("GET", _EVENTS)
    if invocation.as_json:
        print_json(states)
        return
    print_table(
        ["source", "told", "because"], [[name, _yes(state["isTold"]), _why(state)] for name, state in states.items()]
    )


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


def _why(state: dict[str, Any]) -> str:
    switched = state["isSwitchedOn"]
    if switched is not None:
        return "switched on" if switched else "switched off"
    if state["isRouted"]:
        return "a route asks for it"
    return "the setting names it" if state["isDefault"] else "nothing names it"


def _start(text: str) -> str:
    if text in ("start", "now"):
        return text
    try:
        # A time without a zone is the operator's own.
        moment = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid(
            "telemetry.from", f"--from is {text[:60]!r}; it has to be start, now or an ISO 8601 time"
        ) from None
    return moment.isoformat().replace("+00:00", "Z")


def _line(message: dict[str, Any]) -> str:
    who = escape(message["deviceId"]) or "the hub"
    if message.get("moduleId"):
        who += "/" + escape(message["moduleId"])
    if "body" in message:
        body = json.dumps(message["body"])
    else:
        raw = base64.b64decode(message["bodyBase64"])
        try:
            body = escape(raw.decode())
        except UnicodeDecodeError:
            body = f"{len(raw)} bytes, base64 {escape(message['bodyBase64'][:80])}"
    properties = "".join(
        f" {escape(name)}" if value is None else f" {escape(name)}={escape(value)}"
        for name, value in (message.get("properties") or {}).items()
    )
    source = message["systemProperties"]["iothub-message-source"]
    event = "" if source == _TELEMETRY else f" {escape(source)}"
    when = style(escape_time(message["enqueuedTime"]), "dim")
    return f"{when} {style(who, 'bold')}{style(event, 'bold')} {body}{style(properties, 'dim')}"
