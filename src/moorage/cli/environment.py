"""`moorage wait`, `env`, `completion`: what scripts need around a hub."""

from __future__ import annotations

import os
import re
import shlex
import time
from contextlib import closing, suppress
from pathlib import Path

import click

from moorage.cli.commands import Command, Invocation, pass_invocation
from moorage.errors import Refusal, Unavailable

__all__ = ["completion", "env", "wait"]

_FORMATS = ("dotenv", "json", "shell")

# What one look at the hub may take, and the first whatever the timeout: with 0 a hub that is ready is found.
_LOOK_S = 5.0
_FIRST_LOOK_S = 0.5
# From its launch a hub takes less to leave its number in the data folder.
_NEXT_START_S = 5.0
_BUSY = 3.0


@click.command(cls=Command)
@click.option("--timeout", type=click.FloatRange(min=0), default=30.0, show_default=True, help="Seconds.")
@pass_invocation
def wait(invocation: Invocation, timeout: float) -> None:
    """Wait until the hub on the data folder is ready.

    It gives up early when the hub that last ran there has ended and no other starts within 5 seconds, or up to 15 on a
    machine that is busy.
    """
    began = time.monotonic()
    fix = f"moorage up --data {shlex.quote(str(invocation.data))}"
    patience = max(timeout, _FIRST_LOOK_S)
    while True:
        try:
            with closing(invocation.hub()) as hub:
                hub.request("GET", "/readyz", patience_s=min(patience, _LOOK_S))
                break
        except Refusal as refusal:
            # Not there yet, or half written by a hub that starts right now.
            state = str(refusal)
        waited = time.monotonic() - began
        ended = _ended_process(invocation.data) if waited >= _next_start_s() else None
        if ended is not None:
            raise Unavailable(
                "hub.unreachable",
                f"the hub on {invocation.data} (process {ended}) has ended, and no other starts; its log says why",
                fix=fix,
            )
        if waited >= timeout:
            raise Unavailable("wait.timeout", f"no hub was ready within {timeout:g} s: {state}", fix=fix)
        time.sleep(min(0.05, timeout - waited))
        patience = max(timeout - (time.monotonic() - began), 0.001)
    seconds = time.monotonic() - began
    invocation.report({"ready": True, "seconds": round(seconds, 3)}, f"Ready after {seconds:.2f} s.")


def _next_start_s() -> float:
    """How long another hub may take until it has left its number: longer where programs wait for the processor."""
    waiting = os.getloadavg()[0] / (os.cpu_count() or 1)
    return _NEXT_START_S * min(max(waiting, 1.0), _BUSY)


def _ended_process(data: Path) -> int | None:
    """The process that last served `data`, when none of those that left their number there runs any more.

    A hub that starts is in the log's lock long before it is in `hub.json`; one that a port refused is only there.
    """
    from moorage.hub_info import read_hub_info

    numbers = list[int]()
    # What is not there, or being written right now, has nothing to say.
    with suppress(OSError, ValueError):
        numbers.append(int((data / "telemetry" / "lock").read_text()))
    with suppress(Refusal):
        numbers.append(read_hub_info(data).pid)
    return numbers[0] if numbers and not any(map(_runs, numbers)) else None


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # Somebody else's, and there.
        return True
    return True


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
    from moorage.hub_info import read_hub_info

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
