"""`moorage route`: which messages go where (contract/services.md 4.7; IoT Hub's routing query language)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from moorage.cli.arguments import complete, json_value
from moorage.cli.commands import Group, Invocation, pass_invocation
from moorage.cli.output import escape, print_json, print_table
from moorage.errors import Invalid

if TYPE_CHECKING:
    from moorage.cli.hub_client import HubClient

__all__ = ["route"]

_PATH: Final = "/moorage/v1/routes"
_FALLBACK: Final = "/moorage/v1/fallback-route"
_ENRICHMENTS: Final = "/moorage/v1/enrichments"


def _names(hub: HubClient, context: click.Context, incomplete: str) -> list[str]:
    return [each["name"] for each in hub.request("GET", _PATH)["routes"]]


_name_argument = click.argument("name", shell_complete=complete(_names))
_source_option = click.option(
    "--source",
    metavar="SOURCE",
    help="Telemetry, twinChangeEvents, deviceLifecycleEvents, deviceConnectionStateEvents, digitalTwinChangeEvents or "
    "deviceJobLifecycleEvents.  [default: Telemetry]",
)
_condition_option = click.option(
    "--condition", metavar="CONDITION", help="In IoT Hub's routing query language; without it every message is meant."
)


@click.group(cls=Group)
def route() -> None:
    """Send messages on to web hooks, files and brokers.

    A route takes the messages of a source for which its condition is true, and sends them to endpoints: `moorage
    endpoint add` makes one, and `events` is the built-in one, which every hub has.
    """


@route.command("list")
@pass_invocation
def list_routes(invocation: Invocation) -> None:
    """List message routes, and where the rest goes."""
    answer = invocation.hub().request("GET", _PATH)
    if invocation.as_json:
        print_json(answer)
        return
    rows = [
        [
            each["name"],
            each["source"],
            each["condition"],
            ", ".join(each["endpoints"]),
            "" if each["isEnabled"] else "off",
        ]
        for each in answer["routes"]
    ]
    fallback = answer["fallback"]
    rows.append(
        ["(no route)", "Telemetry", "", ", ".join(fallback["endpoints"]), "" if fallback["isEnabled"] else "off"]
    )
    print_table(["route", "source", "condition", "endpoints", "state"], rows, dispensable=["source"])


@route.command("show")
@_name_argument
@pass_invocation
def show(invocation: Invocation, name: str) -> None:
    """Show the route NAME."""
    invocation.show(invocation.hub().request("GET", _path(name)))


@route.command("add")
@click.argument("name")
@click.option("--to", "endpoints", multiple=True, required=True, metavar="ENDPOINT", help="Where to. Repeatable.")
@_condition_option
@_source_option
@click.option("--enabled/--disabled", "is_enabled", default=True, help="Whether it is followed.  [default: enabled]")
@pass_invocation
def add(
    invocation: Invocation,
    name: str,
    endpoints: tuple[str, ...],
    condition: str | None,
    source: str | None,
    is_enabled: bool,
) -> None:
    """Make the route NAME, or put it in the place of the one there is."""
    body = {"endpoints": list(endpoints), "condition": condition, "source": source, "isEnabled": is_enabled}
    document = invocation.hub().request("PUT", _path(name), body=body)
    invocation.report(document, f"Messages go to {escape(', '.join(endpoints))} where {escape(document['condition'])}.")


@route.command("remove")
@_name_argument
@pass_invocation
def remove(invocation: Invocation, name: str) -> None:
    """Delete the route NAME."""
    invocation.hub().request("DELETE", _path(name))
    invocation.report({"name": name, "removed": True}, f"Deleted route {escape(name)}.")


@route.command("test")
@click.option("--condition", metavar="CONDITION", help="Try this one, and none of the routes there are.")
@_source_option
@click.option("--body", metavar="JSON", help="What the device would send.")
@click.option("--property", "properties", multiple=True, metavar="NAME=VALUE", help="Of the message. Repeatable.")
@click.option(
    "--system",
    multiple=True,
    metavar="NAME=VALUE",
    help="A system property, as in connectionDeviceId=pump. Repeatable.",
)
@click.option("--device", metavar="DEVICE", help="Its twin is what $twin means.")
@pass_invocation
def test(
    invocation: Invocation,
    condition: str | None,
    source: str | None,
    body: str | None,
    properties: tuple[str, ...],
    system: tuple[str, ...],
    device: str | None,
) -> None:
    """Say where a message would go, and point at what keeps it from going elsewhere."""
    asked: dict[str, Any] = {
        "properties": _pairs(properties, "--property"),
        "systemProperties": _pairs(system, "--system"),
    }
    if body is not None:
        asked["body"] = _json(body)
    for member, value in (("deviceId", device), ("source", source)):
        if value is not None:
            asked[member] = value
    if condition is not None:
        asked["route"] = {"name": "new", "endpoints": ["events"], "condition": condition, "source": source}
    answer = invocation.hub().request("POST", f"{_PATH}:test", body=asked)
    if invocation.as_json:
        print_json(answer)
        return
    for verdict in answer["routes"]:
        _print_verdict(verdict)
    if condition is None:
        where = ", ".join(answer["endpoints"])
        click.echo(f"The message goes to {escape(where)}." if where else "The message goes nowhere.")


def _print_verdict(verdict: dict[str, Any]) -> None:
    from moorage.query.problems import excerpt

    name = escape(verdict["name"])
    if verdict["isMatch"]:
        click.echo(f"{name}: yes")
    elif "at" not in verdict:
        click.echo(f"{name}: no, it is for {escape(verdict['source'])}")
    else:
        click.echo(f"{name}: no, {escape(verdict['because'])}")
        for line in excerpt(verdict["condition"], verdict["at"]).split("\n"):
            click.echo(f"    {escape(line)}")


@route.command("fallback")
@click.option("--to", "endpoints", multiple=True, metavar="ENDPOINT", help="Where to. Repeatable.")
@click.option("--on/--off", "is_enabled", default=None, help="Whether there is any.")
@pass_invocation
def fallback(invocation: Invocation, endpoints: tuple[str, ...], is_enabled: bool | None) -> None:
    """Show or change where telemetry goes that no route takes."""
    hub = invocation.hub()
    body: dict[str, Any] = {"endpoints": list(endpoints)} if endpoints else {}
    if is_enabled is not None:
        body["isEnabled"] = is_enabled
    document = hub.request("PUT", _FALLBACK, body=body) if body else hub.request("GET", _FALLBACK)
    where = escape(", ".join(document["endpoints"])) if document["isEnabled"] else "no endpoint"
    invocation.report(document, f"Telemetry that no route takes goes to {where}.")


@route.command("enrich")
@click.argument("key")
@click.argument("value", required=False)
@click.option("--to", "endpoints", multiple=True, metavar="ENDPOINT", help="On the way where. Repeatable.")
@click.option("--remove", "is_removed", is_flag=True, help="Add it no more.")
@pass_invocation
def enrich(invocation: Invocation, key: str, value: str | None, endpoints: tuple[str, ...], is_removed: bool) -> None:
    """Add the property KEY to messages on their way to endpoints.

    VALUE is a text, $hubname, or a path into the sender's twin such as $twin.tags.site.
    """
    from moorage.cli.hub_client import segment

    hub, path = invocation.hub(), f"{_ENRICHMENTS}/{segment(key)}"
    if is_removed:
        hub.request("DELETE", path)
        invocation.report({"key": key, "removed": True}, f"{escape(key)} is added no more.")
        return
    if value is None or not endpoints:
        raise click.UsageError("give a VALUE and --to ENDPOINT, or --remove")
    document = hub.request("PUT", path, body={"value": value, "endpoints": list(endpoints)})
    invocation.report(document, f"{escape(key)}={escape(value)} is added on the way to {escape(', '.join(endpoints))}.")


def _path(name: str) -> str:
    from moorage.cli.hub_client import segment

    return f"{_PATH}/{segment(name)}"


def _pairs(texts: tuple[str, ...], option: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise click.UsageError(f"{option} is {text[:60]!r}, it has to be NAME=VALUE")
        found[name] = value
    return found


def _json(text: str) -> Any:
    try:
        return json_value(text, "--body")
    except Invalid as refusal:
        raise Invalid("route.body", refusal.message, fix=refusal.fix) from refusal
