"""`moorage query`: twins, modules and device jobs that a query selects, as a table or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import click

from moorage.cli.arguments import show_place
from moorage.cli.commands import Command, Invocation, pass_invocation
from moorage.cli.output import escape, moment, print_json, print_table
from moorage.cli.watching import watch_option, watched

if TYPE_CHECKING:
    from moorage.query.syntax import Select

__all__ = ["query"]

_PATH: Final = "/devices/query"
_PAGE: Final = 1000
# Aggregates look at every row before they answer.
_PATIENCE_S: Final = 90.0
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
@watch_option
@pass_invocation
def query(invocation: Invocation, text: str, top: int | None, watch: float | None) -> None:
    """Ask for twins, modules or device jobs.

    As in "SELECT * FROM devices WHERE tags.site = 'A'".

    Prints a table; with --json one row a line, as they come. docs/reference/query-language.md has the language.
    """
    select = _parsed(text)
    _note_unknown_fields(select)
    hub = invocation.hub()
    page = _PAGE if top is None else min(top, _PAGE)

    def read() -> Callable[[], None]:
        rows = islice(hub.query_all(_PATH, text, page=page, patience_s=_PATIENCE_S), top)
        if invocation.as_json:
            return lambda: _print_rows(rows)
        cells = [_cells(select, row) for row in _counted(rows)]
        headings = [heading for heading, _ in _columns(select)]
        return lambda: print_table(headings, cells, dispensable=_DISPENSABLE)

    watched(invocation, watch, read)


def _print_rows(rows: Iterable[Any]) -> None:
    """As they come: there may be a hundred thousand."""
    for row in rows:
        print_json(row)


def _parsed(text: str) -> Select:
    """What is asked. A text that asks nothing is shown with the place that is wrong."""
    from moorage.query.parser import parse_query
    from moorage.query.problems import InvalidQuery

    try:
        return parse_query(text)
    except InvalidQuery as refusal:
        show_place(refusal)
        raise


def _note_unknown_fields(select: Select) -> None:
    """No row has them, so nothing is found; the hub takes them, as clients may know more fields than it does."""
    from moorage.query.fields import is_field
    from moorage.query.syntax import Aggregate, Path, walk

    asked = [projection.value for projection in select.projections or ()]
    expressions = [each.argument if isinstance(each, Aggregate) else each for each in asked]
    expressions += [select.where, *select.group_by]
    paths = [each for tree in expressions if tree is not None for each in walk(tree) if isinstance(each, Path)]
    for name in dict.fromkeys(path.names[0] for path in paths):
        if not is_field(select.collection, name):
            click.echo(
                f"Note: {select.collection} have no field {escape(name)!r}; is it misspelt, or a text without quotes?",
                err=True,
            )


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
