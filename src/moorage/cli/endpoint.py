"""`moorage endpoint`: where message routes lead. A credential comes from a file: all may read a command line."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, Final

import click

from moorage.cli.arguments import complete
from moorage.cli.commands import Group, Invocation, pass_invocation
from moorage.cli.output import escape, escape_time, print_json, print_table
from moorage.errors import Invalid

if TYPE_CHECKING:
    from moorage.cli.hub_client import HubClient

__all__ = ["endpoint"]

_PATH: Final = "/moorage/v1/endpoints"
_MAX_CREDENTIAL: Final = 8192
# A delivery itself is tried for half a minute, and what came of it is to be told; a replay has many of them.
_TRY_PATIENCE_S: Final = 60.0
_REPLAY_PATIENCE_S: Final = 600.0
_KINDS: Final = ("webhook", "file", "nats", "kafka")


def _names(hub: HubClient, context: click.Context, incomplete: str) -> list[str]:
    return [each["name"] for each in hub.request("GET", _PATH)["endpoints"]]


_name_argument = click.argument("name", shell_complete=complete(_names))


@click.group(cls=Group)
def endpoint() -> None:
    """Where message routes lead: web hooks, files and brokers."""


@endpoint.command("list")
@pass_invocation
def list_endpoints(invocation: Invocation) -> None:
    """List endpoints, and how they do."""
    found = invocation.hub().request("GET", _PATH)["endpoints"]
    if invocation.as_json:
        for document in found:
            print_json(document)
        return
    print_table(
        ["endpoint", "kind", "address", "delivered", "waiting", "dead letters", "state"],
        [
            [
                each["name"],
                each["kind"],
                each["address"],
                each["health"]["delivered"],
                each["health"]["waiting"],
                each["health"]["deadLetters"],
                each["health"]["failure"] or "",
            ]
            for each in found
        ],
        dispensable=["address"],
    )


@endpoint.command("show")
@_name_argument
@pass_invocation
def show(invocation: Invocation, name: str) -> None:
    """Show the endpoint NAME; its secrets are not in it."""
    invocation.show(invocation.hub().request("GET", _path(name)))


@endpoint.command("add")
@click.argument("name")
@click.argument("address", required=False)
@click.option("--kind", type=click.Choice(_KINDS), help="What it is.  [default: by its address]")
@click.option(
    "--credential",
    type=click.File("r", lazy=True),
    metavar="FILE",
    help="What is shown to it: of a web hook the Authorization header. - is standard input.",
)
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="Of its kind. Repeatable.")
@click.option("--batch", type=click.IntRange(min=1), help="The most messages in a delivery.  [default: 100]")
@click.option(
    "--retry",
    "retry_s",
    type=click.IntRange(min=0),
    metavar="SECONDS",
    help="How long a delivery is tried.  [default: 3600]",
)
@pass_invocation
def add(
    invocation: Invocation,
    name: str,
    address: str | None,
    kind: str | None,
    credential: IO[str] | None,
    options: tuple[str, ...],
    batch: int | None,
    retry_s: int | None,
) -> None:
    """Make the endpoint NAME at ADDRESS, or change it; what is not said stays.

    https://hooks.example/in is a web hook, file:///folder a folder below `moorage up --transfer-folder`; s3://, gs://
    and az:// are object stores, nats://broker.example:4222 is a NATS server, kafka+tls://broker.example:9093 a Kafka
    broker. What may be called is a setting: `moorage up --egress-allow`, and of Kafka `moorage up --kafka-brokers`.
    """
    body: dict[str, Any] = {"batch": batch, "retrySeconds": retry_s, "address": address}
    body["kind"] = kind or (None if address is None else _kind_of(address))
    if credential is not None:
        body["credential"] = credential.read(_MAX_CREDENTIAL).strip()
    if options:
        body["options"] = dict(_pair(text) for text in options)
    given = {member: value for member, value in body.items() if value is not None}
    document = invocation.hub().request("PUT", _path(name), body=given)
    invocation.report(document, f"Endpoint {escape(document['name'])} is at {escape(document['address'])}.")


@endpoint.command("try")
@_name_argument
@pass_invocation
def try_endpoint(invocation: Invocation, name: str) -> None:
    """Deliver one message of the hub's own to the endpoint NAME."""
    document = invocation.hub().request("POST", f"{_path(name)}/try", patience_s=_TRY_PATIENCE_S)
    invocation.report(document, f"{escape(document['name'])} took a message.")


@endpoint.command("dead-letters")
@_name_argument
@click.option("--replay", is_flag=True, help="Deliver them again, the oldest first, until one is not taken.")
@pass_invocation
def dead_letters(invocation: Invocation, name: str, replay: bool) -> None:
    """List messages that the endpoint NAME did not take."""
    hub = invocation.hub()
    if replay:
        answer = hub.request("POST", f"{_path(name)}/dead-letters/replay", patience_s=_REPLAY_PATIENCE_S)
        lines = [f"{answer['delivered']} delivered, {answer['left']} left."]
        if answer["failure"]:
            lines.append(escape(answer["failure"]))
        invocation.report(answer, *lines)
        return
    found = hub.request("GET", f"{_path(name)}/dead-letters")["deadLetters"]
    if invocation.as_json:
        for document in found:
            print_json(document)
        return
    print_table(
        ["number", "when", "device", "reason"],
        [[each["number"], escape_time(each["at"]), each["deviceId"], each["reason"]] for each in found],
    )


@endpoint.command("remove")
@_name_argument
@pass_invocation
def remove(invocation: Invocation, name: str) -> None:
    """Delete the endpoint NAME with its dead letters."""
    invocation.hub().request("DELETE", _path(name))
    invocation.report({"name": name, "removed": True}, f"Deleted endpoint {escape(name)}.")


def _path(name: str) -> str:
    from moorage.cli.hub_client import segment

    return f"{_PATH}/{segment(name)}"


def _kind_of(address: str) -> str:
    scheme = address.partition(":")[0].lower()
    kinds = {"https": "webhook", "http": "webhook", "nats": "nats", "tls": "nats"}
    kinds |= dict.fromkeys(("file", "s3", "gs", "az"), "file")
    kinds |= dict.fromkeys(("kafka", "kafka+tls"), "kafka")
    if scheme not in kinds:
        raise Invalid(
            "endpoint.kind",
            f"{address[:60]!r} begins with none of https://, file://, s3://, gs://, az://, nats:// and kafka://; say "
            "--kind",
        )
    return kinds[scheme]


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise click.UsageError(f"--option is {text[:60]!r}, it has to be NAME=VALUE")
    return name, value
