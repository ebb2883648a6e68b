"""`moorage c2d`: cloud-to-device messages, through our own REST (decisions W6)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from moorage.cli.arguments import device_argument, identity_path, module_option
from moorage.cli.commands import Group, Invocation, pass_invocation
from moorage.cli.output import escape

__all__ = ["c2d"]

# The hub takes no more than two days.
_MAX_EXPIRY_S = 2 * 24 * 3600


@click.group(cls=Group)
def c2d() -> None:
    """Send cloud-to-device messages, and drop those that wait."""


@c2d.command("send")
@device_argument
@click.argument("text")
@click.option("--property", "properties", multiple=True, metavar="NAME=VALUE", help="Can be repeated.")
@module_option("Send it to this module.")
@click.option("--message-id", metavar="TEXT", help="[default: the hub makes one]")
@click.option("--ack", type=click.Choice(["none", "positive", "negative", "full"]), help="Ask for feedback.")
@click.option("--expires-in", type=click.IntRange(1, _MAX_EXPIRY_S), metavar="SECONDS", help="[default: one hour]")
@pass_invocation
def send_c2d(
    invocation: Invocation,
    device_id: str,
    text: str,
    properties: tuple[str, ...],
    module: str | None,
    message_id: str | None,
    ack: str | None,
    expires_in: int | None,
) -> None:
    """Queue TEXT for the device ID; it is kept until the device takes it or it expires."""
    pairs = {}
    for pair in properties:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise click.UsageError(f"--property is NAME=VALUE, this is {pair!r}")
        pairs[name] = value
    given = {"messageId": message_id, "ack": ack}
    if expires_in is not None:
        given["expiryTimeUtc"] = (datetime.now(UTC) + timedelta(seconds=expires_in)).isoformat()
    given = {member: value for member, value in given.items() if value is not None}
    answer = invocation.hub().request(
        "POST",
        f"/moorage/v1{identity_path(device_id, module)}/messages/devicebound",
        body={"body": text, "properties": pairs, **given},
    )
    name = device_id if module is None else f"{device_id}/{module}"
    invocation.report(answer, f"Queued message {escape(answer['messageId'])} for {escape(name)}.")


@c2d.command("purge")
@device_argument
@module_option("That module's queue.")
@pass_invocation
def purge(invocation: Invocation, device_id: str, module: str | None) -> None:
    """Drop the messages that wait for the device ID."""
    answer = invocation.hub().request("DELETE", identity_path(device_id, module) + "/commands")
    count = answer["totalMessagesPurged"]
    invocation.report(answer, f"Dropped {count} message{'' if count == 1 else 's'} for {escape(device_id)}.")
