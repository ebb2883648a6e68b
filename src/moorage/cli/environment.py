"""`moorage wait`, `env`, `token`, `completion`: what scripts need around a hub."""

from __future__ import annotations

import re
import shlex
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import click

from moorage.cli.commands import Command, Invocation, pass_invocation
from moorage.errors import Refusal, Unavailable

__all__ = ["completion", "env", "token", "wait"]

_FORMATS = ("dotenv", "json", "shell")


@click.command(cls=Command)
@click.option("--timeout", type=click.FloatRange(min=0), default=30.0, show_default=True, help="Seconds.")
@pass_invocation
def wait(invocation: Invocation, timeout: float) -> None:
    """Wait until the hub on the data folder is ready."""
    began = time.monotonic()
    while True:
        try:
            with closing(invocation.hub()) as hub:
                if hub.is_ready():
                    break
            state = "it does not answer, or is not ready"
        except Refusal as refusal:
            # Not there yet, or half written by a hub that starts right now.
            state = str(refusal)
        if time.monotonic() - began >= timeout:
            raise Unavailable("wait.timeout", f"no hub was ready within {timeout:g} s: {state}", fix="moorage up")
        time.sleep(0.05)
    seconds = time.monotonic() - began
    invocation.report({"ready": True, "seconds": round(seconds, 3)}, f"Ready after {seconds:.2f} s.")


@click.command(cls=Command)
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    help="dotenv: NAME=value; shell: export lines for eval; json: one object.  [default: dotenv]",
)
@pass_invocation
def env(invocation: Invocation, form: str | None) -> None:
    """Print what programs need to reach the hub, keys included.

    The names: IOTHUB_HOSTNAME IOTHUB_CONNECTION_STRING DPS_ENDPOINT DPS_ID_SCOPE DPS_CONNECTION_STRING
    EVENTHUB_CONNECTION_STRING CA_BUNDLE WEB_URL; null in JSON, and left out elsewhere, where there is no such part.
    """
    from moorage.cli.output import print_json
    from moorage.config import read_hub_info

    variables = read_hub_info(invocation.data).environment()
    if form == "json" or (form is None and invocation.as_json):
        print_json(variables)
        return
    for name, value in variables.items():
        if value is not None:
            click.echo(f"export {name}={shlex.quote(value)}" if form == "shell" else f"{name}={_dotenv(value)}")


def _dotenv(value: str) -> str:
    # Bare where it can be: some readers (docker --env-file) take quotes for part of the value.
    if re.fullmatch(r"[A-Za-z0-9_./:;=+@%,~-]*", value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


@click.command(cls=Command)
@click.option("--minutes", type=click.IntRange(1, 24 * 60), default=60, show_default=True, help="How long it holds.")
@pass_invocation
def token(invocation: Invocation, minutes: int) -> None:
    """Print a bearer token of the hub's owner, for the Authorization header of any of its APIs."""
    from moorage.cli.owner import owner_token

    now = datetime.now(UTC)
    lifetime = timedelta(minutes=minutes)
    bearer = owner_token(invocation.data, now, lifetime).reveal()
    expires = (now + lifetime).isoformat(timespec="seconds")
    invocation.report({"token": bearer, "expires": expires}, bearer)


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@pass_invocation
def completion(invocation: Invocation, shell: str) -> None:
    """Print completion for a shell: `eval "$(moorage completion bash)"`."""
    from click.shell_completion import get_completion_class

    from moorage.cli.root import root

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"there is no completion for {shell}")
    source = kind(root, {}, "moorage", "_MOORAGE_COMPLETE").source()
    invocation.report({"shell": shell, "source": source}, source)
