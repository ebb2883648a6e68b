"""`--watch SECONDS`: the same output again and again, in one place on a terminal, below each other in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import click

from moorage.cli.commands import Invocation

__all__ = ["watch_option", "watched"]

# Home, and clear from there.
_CLEAR = "\x1b[H\x1b[2J"

watch_option = click.option(
    "--watch", type=click.FloatRange(min=0.5), metavar="SECONDS", help="Show it again so often, until Ctrl-C."
)


def watched(invocation: Invocation, every_s: float | None, read: Callable[[], Callable[[], None]]) -> None:
    """`read` what is to be shown, then show it: once, or every so many seconds without end.

    Reading comes before the terminal is cleared, so that nothing flickers while the hub is asked.
    """
    while True:
        show = read()
        if every_s is not None and sys.stdout.isatty() and not invocation.as_json:
            click.echo(_CLEAR, nl=False)
        show()
        if every_s is None:
            return
        sys.stdout.flush()
        time.sleep(every_s)
