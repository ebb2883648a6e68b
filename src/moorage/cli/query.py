"""`moorage query`: twins, modules and device jobs that a query selects, as a table or as JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import click

from moorage.cli.commands import Command, Invocation, pass_invocation
from moorage.cli.output import escape, moment, print_json, print_table

if TYPE_CHECKING:
    from moorage.query.syntax import Select

__all__ = ["query"]

_PATH: Final = "/devices/query"
_PAGE: Final = 1000
# Aggregates look at every row before they answer.
_PATIENCE_S: Final = 90.0
_CLEAR: Final = "\x1b[H\x1b[2J"
# Heading and path of what is shown of whole rows.
_WHOLE: Final[dict[str, tuple[tuple[str, tuple[str, ...]], ...]]] = {
    "devices": (
        ("device", ("deviceId",)),
        ("auth", ("authenticationType",)),
        ("status", ("status",)),
        ("connection", ("connectionState",)),
        ("last activity", ("lastActivityTime",)),
        ("tags", ("tags",)),
    ),
    "devices.modules": (
        ("device", ("deviceId",)),
        ("module", ("moduleId",)),
        ("auth", ("authenticationType",)),
        ("connection", ("connectionState",)),
        ("last activity", ("lastActivityTime",)),
        ("tags", ("tags",)),
    ),
    "devices.jobs": (
        ("job", ("jobId",)),
        ("device", ("deviceId",)),
        ("type", ("jobType",)),
        ("status", ("status",)),
        ("started", ("startTimeUtc",)),
        ("ended", ("endTimeUtc",)),
    ),
}
_DISPENSABLE: Final = ("tags", "auth", "last activity", "connection", "started", "type")


@click.command(cls=Command)
@click.argument("text", metavar="TEXT")
@click.option("--top", type=click.IntRange(min=1), help="At most so many rows.")
@click.option("--watch", type=click.FloatRange(min=0.5), metavar="SECONDS", help="Ask again so often, until Ctrl-C.")
@pass_invocation
def query(invocation: Invocation, text: str, top: int | None, watch: float | None) -> None:
    """Ask for twins, modules or device jobs, as in "SELECT * FROM devices WHERE tags.site = 'A'".

    Prints a table; with --json one row a line, as they come. docs/reference/query-language.md has the language.
    """
    select = _parsed(text)
    hub = invocation.hub()
    while True:
        page = _PAGE if top is None else min(top, _PAGE)
        rows = islice(hub.query_all(_PATH, text, page=page, patience_s=_PATIENCE_S), top)
        if invocation.as_json:
            for row in rows:
                print_json(row)
        else:
            cells = [_cells(select, row) for row in _counted(rows)]
            if watch and sys.stdout.isatty():
                click.echo(_CLEAR, nl=False)
            print_table([heading for heading, _ in _columns(select)], cells, dispensable=_DISPENSABLE)
        if not watch:
            return
        time.sleep(watch)


def _parsed(text: str) -> Select:
    """What is asked. A text that asks nothing is shown with the place that is wrong."""
    from moorage.query.parser import parse_query
    from moorage.query.problems import InvalidQuery

    try:
        return parse_query(text)
    except InvalidQuery as refusal:
        for line in refusal.excerpt().split("\n"):
            click.echo(f"  {escape(line)}", err=True)
        raise


def _columns(select: Select) -> list[tuple[str, tuple[str, ...]]]:
    if select.projections is None:
        return list(_WHOLE[select.collection])
    return [(projection.name, (projection.name,)) for projection in select.projections]


def _cells(select: Select, row: Any) -> list[str]:
    return [_cell(row, path) for _, path in _columns(select)]


def _cell(row: Any, path: tuple[str, ...]) -> str:
    for name in path:
        row = row.get(name) if isinstance(row, dict) else None
    if row is None or row == {}:
        return ""
    if isinstance(row, str):
        return moment(row) if path[-1] in ("lastActivityTime", "startTimeUtc", "endTimeUtc") else row
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"))


def _counted(rows: Iterable[Any]) -> Iterator[Any]:
    """The rows; on a terminal it says how many came so far, after each page."""
    count = 0
    for count, row in enumerate(rows, 1):
        if count % _PAGE == 0 and sys.stderr.isatty():
            click.echo(f"\r{count} rows ...", nl=False, err=True)
        yield row
    if count >= _PAGE and sys.stderr.isatty():
        click.echo("\r\x1b[K", nl=False, err=True)
