"""`moorage method`: direct methods (contract/services.md 2.8)."""

from __future__ import annotations

import json

import click

from moorage.cli.arguments import device_argument, json_value, module_option, twin_path
from moorage.cli.commands import Group, Invocation, pass_invocation
from moorage.cli.output import escape
from moorage.errors import NotFound, Refusal

__all__ = ["method"]

_MAX_CONNECT_TIMEOUT_S = 300


@click.group(cls=Group)
def method() -> None:
    """Call direct methods."""


@method.command("call")
@device_argument
@click.argument("name")
@module_option("Call it on this module.")
@click.option("--payload", metavar="JSON", default="null", show_default=True)
@click.option("--timeout", type=click.IntRange(5, 300), default=30, show_default=True, help="Seconds for the answer.")
@click.option(
    "--connect-timeout",
    type=click.IntRange(0, _MAX_CONNECT_TIMEOUT_S),
    default=0,
    show_default=True,
    help="Seconds to wait for the device to connect.",
)
@pass_invocation
def call_method(
    invocation: Invocation,
    device_id: str,
    name: str,
    module: str | None,
    payload: str,
    timeout: int,
    connect_timeout: int,
) -> None:
    """Call the method NAME on the device ID and print its answer."""
    body = {
        "methodName": name,
        "payload": json_value(payload, "--payload"),
        "responseTimeoutInSeconds": timeout,
        "connectTimeoutInSeconds": connect_timeout,
    }
    hub = invocation.hub()
    try:
        answer = hub.request(
            "POST",
            f"{twin_path(device_id, module)}/methods",
            body=body,
            patience_s=timeout + connect_timeout + 10.0,
        )
    except Refusal as refusal:
        if refusal.reason != "device.not_online":
            raise
        fix = "connect the device and subscribe to its methods"
        if connect_timeout < _MAX_CONNECT_TIMEOUT_S:
            fix += f", or wait for it: --connect-timeout {min(_MAX_CONNECT_TIMEOUT_S, max(30, 2 * connect_timeout))}"
        raise NotFound(refusal.reason, refusal.message, fix=fix) from refusal
    invocation.report(
        answer, f"{escape(device_id)} answered {escape(answer['status'])}: {json.dumps(answer.get('payload'))}"
    )
