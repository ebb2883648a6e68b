"""The command line: `moorage COMMAND`. Each command's module is imported when that command is called, not before."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns an exit code of docs/reference/exit-codes.md."""
    from moorage.cli.root import run

    return run(arguments)
