"""`moorage c2d`: cloud-to-device messages, through our own REST (decisions W6)."""

from __future__ import annotations

import click

from moorage.cli.arguments import device_argument
from moorage.cli.commands import Group, Invocation, pass_invocation
from moorage.cli.output import escape

__all__ = ["c2d"]


@click.group(cls=Group)
def c2d() -> None:
    """Send cloud-to-device messages."""


@c2d.command("send")
@device_argument
@click.argument("text")
@click.option("--property", "properties", multiple=True, metavar="NAME=VALUE", help="Can be repeated.")
@pass_invocation
def send_c2d(invocation: Invocation, device_id: str, text: str, properties: tuple[str, ...]) -> None:
    """Queue TEXT for the device ID; it is kept until the device takes it or it expires."""
    from moorage.cli.hub_client import segment

    pairs = {}
    for pair in properties:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise click.UsageError(f"--property is NAME=VALUE, this is {pair!r}")
        pairs[name] = value
    answer = invocation.hub().request(
        "POST",
        f"/moorage/v1/devices/{segment(device_id)}/messages/devicebound",
        body={"body": text, "properties": pairs},
    )
    invocation.report(answer, f"Queued message {escape(answer['messageId'])} for {escape(device_id)}.")
