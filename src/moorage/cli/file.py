"""`moorage file`: what devices have uploaded, and who is told of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import click

from moorage.cli.commands import Group, Invocation, pass_invocation
from moorage.cli.output import escape, escape_time, print_json, print_table
from moorage.errors import Conflict

__all__ = ["file"]

_FILES = "/moorage/v1/files"
_SWITCH = "/moorage/v1/file-uploads"
_QUEUE = "/messages/serviceBound/filenotifications"
# Half the lock of a notification: what is kept is given back before the hub gives it out again.
_KEPT_S = 30.0


@click.group(cls=Group)
def file() -> None:
    """List and fetch the files that devices have uploaded."""


@file.command("list")
@click.option("--device", metavar="ID", help="Only files of this device.")
@click.option("--prefix", default="", metavar="TEXT", help="Only names that begin with it, behind the device's id.")
@pass_invocation
def list_files(invocation: Invocation, device: str | None, prefix: str) -> None:
    """List files in order of their names: the device's id, a slash, and the device's name for it."""
    if device is not None:
        prefix = f"{device}/{prefix}"
    found = _listed(invocation, prefix)
    if invocation.as_json:
        for each in found:
            print_json(each)
        return
    rows = [[each["name"], each["sizeInBytes"], escape_time(each["lastModified"])] for each in found]
    print_table(["name", "bytes", "modified"], rows)


@file.command("get")
@click.argument("name")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Where to write it; - is standard output.  [default: the last part of NAME, here]",
)
@pass_invocation
def get_file(invocation: Invocation, name: str, out: Path | None) -> None:
    """Fetch the file NAME, as `moorage file list` has it. What is there already is replaced only if --out names it."""
    from moorage.cli.hub_client import segment

    pieces = invocation.hub().pieces(f"{_FILES}/" + "/".join(segment(part) for part in name.split("/")))
    # Nothing is made of a file that there is not.
    first = next(pieces, b"")
    if str(out) == "-":
        _write(sys.stdout.buffer, first, pieces)
        return
    where = out or Path(name.rpartition("/")[2])
    try:
        size = _save(where, first, pieces, is_new=out is None)
    except FileExistsError:
        raise Conflict("file.exists", f"there is a {where} already", fix="say where with --out") from None
    document = {"name": name, "sizeInBytes": size, "file": str(where)}
    invocation.report(document, f"Wrote {size} bytes to {escape(str(where))}.")


@file.command("notifications")
@click.option(
    "--keep", is_flag=True, help="Leave them for whoever asks next. Each look counts among the deliveries of one (ten)."
)
@pass_invocation
def notifications(invocation: Invocation, keep: bool) -> None:
    """Print the file notifications that wait, and take them away."""
    hub = invocation.hub()
    taken: list[tuple[str, dict[str, Any]]] = []
    until = time.monotonic() + _KEPT_S
    while (not keep or time.monotonic() < until) and (found := hub.take(_QUEUE)) is not None:
        taken.append(found)
        if not keep:
            hub.request("DELETE", f"{_QUEUE}/{found[0]}")
    if keep:
        for lock, _ in taken:
            hub.request("POST", f"{_QUEUE}/{lock}/abandon")
    if invocation.as_json:
        for _, each in taken:
            print_json(each)
        return
    rows = [[escape_time(each["enqueuedTimeUtc"]), each["blobName"], each["blobSizeInBytes"]] for _, each in taken]
    print_table(["time", "name", "bytes"], rows)


@file.command("settings")
@click.option("--notifications", type=click.Choice(["on", "off"]), help="Whether back ends are told of new files.")
@pass_invocation
def settings(invocation: Invocation, notifications: str | None) -> None:
    """Show how files are told of, or change it."""
    hub = invocation.hub()
    if notifications is None:
        document = hub.request("GET", _SWITCH)
    else:
        document = hub.request("PATCH", _SWITCH, body={"notifications": notifications == "on"})
    invocation.report(document, f"File notifications are {'on' if document['notifications'] else 'off'}.")


def _listed(invocation: Invocation, prefix: str) -> Iterator[dict[str, Any]]:
    hub, after = invocation.hub(), ""
    while True:
        page = hub.request("GET", _FILES, query={"prefix": prefix, "after": after, "limit": "1000"})
        yield from page["files"]
        after = page["next"]
        if not after:
            return


def _save(where: Path, first: bytes, rest: Iterator[bytes], *, is_new: bool) -> int:
    """Half of a file is nobody's: it would stand in the way of the next try. Raises `FileExistsError`, if `is_new`."""
    with where.open("xb" if is_new else "wb") as target:
        try:
            return _write(target, first, rest)
        except BaseException:
            if is_new:
                where.unlink(missing_ok=True)
            raise


def _write(target: BinaryIO, first: bytes, rest: Iterator[bytes]) -> int:
    size = target.write(first)
    for piece in rest:
        size += target.write(piece)
    target.flush()
    return size
