"""`moorage monitor`: who is connected, since when, with which credential, and when it was last turned away."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from moorage.cli.arguments import device_ids, existing_device, in_options
from moorage.cli.commands import Command, Invocation, pass_invocation
from moorage.cli.output import escape, moment, print_json, print_table, style
from moorage.cli.watching import watch_option, watched
from moorage.errors import Unavailable

if TYPE_CHECKING:
    from moorage.cli.hub_client import HubClient

__all__ = ["monitor"]

_PATH: Final = "/moorage/v1/connections"
_EVENTS: Final = "/moorage/v1/connection-events"
_COLUMNS: Final = ("device", "since", "last heard", "over", "from", "credential", "until", "last refusal")
_DISPENSABLE: Final = ("from", "over", "last heard", "last refusal")


@click.command(cls=Command)
@click.argument("device_id", metavar="[ID]", required=False, shell_complete=device_ids)
@click.option("--prefix", help="Only devices whose id begins like this.")
@click.option(
    "--credential", type=click.Choice(("x509", "token")), help="Only those that this kind of credential let in."
)
@click.option("--expires-before", metavar="TIME", help="Only those whose credential ends before this ISO 8601 time.")
@click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True, help="At most so many.")
@watch_option
@click.option("--follow", is_flag=True, help="Print who comes, goes and is turned away from now on, until Ctrl-C.")
@pass_invocation
@existing_device()
@in_options({"expiresBefore": "--expires-before"})
def monitor(
    invocation: Invocation,
    device_id: str | None,
    prefix: str | None,
    credential: str | None,
    expires_before: str | None,
    limit: int,
    watch: float | None,
    follow: bool,
) -> None:
    """Show who is connected.

    Since when, over what, with which certificate or key, and the last refusal.

    With an ID that device and its modules, and what is known of it when it is not connected. With --json one object a
    line: deviceId moduleId connected since lastActivityTime protocol tlsVersion address credential lastRefusal.
    """
    if follow and watch:
        raise click.UsageError("--follow prints what happens when it happens: leave --watch out")
    if follow and (prefix or credential or expires_before):
        raise click.UsageError("--follow takes an ID and no filter")
    if device_id is not None and prefix is not None:
        raise click.UsageError("give an ID or --prefix, not both")
    hub = invocation.hub()
    if follow:
        _follow(invocation, hub, device_id)
        return
    query = {"device": device_id, "prefix": prefix, "credential": credential, "expiresBefore": expires_before}

    def read() -> Callable[[], None]:
        shown = _found(hub, {name: value for name, value in query.items() if value is not None}, limit)
        if device_id is not None and not any(each["moduleId"] is None for each in shown):
            shown.insert(0, hub.request("GET", f"{_PATH}/{_segment(device_id)}"))
        return lambda: _print(invocation, shown)

    watched(invocation, watch, read)


def _segment(text: str) -> str:
    from moorage.cli.hub_client import segment

    return segment(text)


def _found(hub: HubClient, query: dict[str, str], limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after: dict[str, str] = {}
    while len(found) < limit:
        page = hub.request("GET", _PATH, query={**query, **after, "limit": str(min(500, limit - len(found)))})
        found += page["connections"]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    return found


def _print(invocation: Invocation, shown: list[dict[str, Any]]) -> None:
    if invocation.as_json:
        for document in shown:
            print_json(document)
        return
    if not shown:
        click.echo("Nobody is connected.")
        return
    print_table(_COLUMNS, [_row(document) for document in shown], dispensable=_DISPENSABLE)


def _row(document: dict[str, Any]) -> tuple[str, ...]:
    until = (document["credential"] or {}).get("expires")
    return (
        _name(document),
        _since(document),
        moment(document["lastActivityTime"] or ""),
        " ".join(filter(None, (document["protocol"], document["tlsVersion"]))),
        document["address"] or "",
        _credential(document["credential"]),
        moment(until or ""),
        _refusal(document["lastRefusal"]),
    )


def _name(document: dict[str, Any]) -> str:
    module = document["moduleId"]
    return str(document["deviceId"]) if module is None else f"{document['deviceId']}/{module}"


def _since(document: dict[str, Any]) -> str:
    since = document["since"]
    if document["connected"]:
        return moment(since or "")
    return "never connected" if since is None or since.startswith("0001-") else f"off since {moment(since)}"


def _credential(credential: dict[str, Any] | None) -> str:
    if credential is None:
        return ""
    if credential["kind"] == "x509":
        return str(credential.get("subject") or credential.get("sha256Thumbprint") or "certificate")
    if credential["policy"] is None:
        return "token of its own key"
    return " ".join(filter(None, ("token of", credential["policy"], credential["key"])))


def _refusal(refusal: dict[str, Any] | None) -> str:
    return "" if refusal is None else f"{moment(refusal['at'])} {refusal['reason']}"


def _follow(invocation: Invocation, hub: HubClient, device_id: str | None) -> None:
    for event, document in _events(hub, {} if device_id is None else {"device": device_id}):
        if invocation.as_json:
            print_json({"event": event, **document})
        else:
            click.echo(_line(event, document))
    raise Unavailable(
        "hub.unreachable", "the hub has ended the stream", fix=f"moorage up --data {shlex.quote(str(invocation.data))}"
    )


def _events(hub: HubClient, query: dict[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    is_first = True
    for event, data in hub.follow(_EVENTS, query):
        # Said again when the stream goes on with another bearer, of which nobody has to know.
        if event != "following" or is_first:
            yield event, json.loads(data)
        is_first = False


def _line(event: str, document: dict[str, Any]) -> str:
    match event:
        case "following":
            return style(f"{escape(document['connectedDeviceCount'])} devices are connected; following.", "dim")
        case "missed":
            return style(f"{escape(document['count'])} more happened than could be shown.", "bad")
        case "refused":
            who, at = escape(document["claimedId"]), escape(moment(document["at"]))
            why = f"{escape(document['reason'])}: {escape(document['message'])}"
            return f"{style(at, 'dim')} {style(who, 'bold')} {style('refused', 'bad')} {why}"
    who, at = escape(_name(document)), escape(moment(document["since"] or ""))
    how = f" from {escape(document['address'])} with {escape(_credential(document['credential']))}"
    return (
        f"{style(at, 'dim')} {style(who, 'bold')} {style(event, 'good' if event == 'connected' else 'dim')}"
        f"{how if document['credential'] else ''}"
    )
