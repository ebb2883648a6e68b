"""`moorage device import` and `moorage device export`: a whole fleet from a file and to one.

An import goes through the service's bulk request, a hundred devices at a time and several requests at once. A line that
needs another one that comes later (a child its gateway, a module its device) is tried again once the file is through.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Protocol

import click

from moorage.adapters.files import plain_file
from moorage.cli.commands import Command, Invocation, pass_invocation
from moorage.cli.fleet_files import COLUMNS, FleetLine, read_csv, read_json_lines
from moorage.cli.output import escape
from moorage.errors import Conflict, Invalid, Unavailable

if TYPE_CHECKING:
    from moorage.cli.hub_client import HubClient

__all__ = ["export_devices", "import_devices"]

_BATCH: Final = 100
# Twins can be large, and a request has at most 4 MiB.
_BATCH_BYTES: Final = 2 * 1024 * 1024
_PARALLEL: Final = 4
_SHOWN: Final = 50
_MAX_ROUNDS: Final = 6
_MODES: Final = ("create", "update", "createOrUpdate", "updateTwin", "delete")


@dataclass
class _Tally:
    """What came of an import so far. `later` are lines that may need others, and why."""

    done: int = 0
    refused: list[dict[str, Any]] = field(default_factory=list)
    later: list[tuple[FleetLine, dict[str, Any]]] = field(default_factory=list)

    def refuse(self, line: FleetLine, why: dict[str, Any]) -> None:
        self.refused.append({"line": line.number, "id": line.name, **why})

    def count(self, batch: list[FleetLine], result: dict[str, Any]) -> None:
        errors = {error["item"]: error for error in result["errors"]}
        for number, line in enumerate(batch):
            error = errors.get(number)
            if error is None:
                self.done += 1
            elif _may_come(line, error):
                self.later.append((line, error))
            else:
                self.refuse(line, _why(line, error))


@click.command("import", cls=Command)
@click.argument("file", type=click.File("rb"))
@click.option(
    "--format", "kind", type=click.Choice(["json", "csv"]), help="What FILE is.  [default: by its name and first line]"
)
@click.option(
    "--mode",
    type=click.Choice(_MODES),
    default="createOrUpdate",
    show_default=True,
    help="What to do with lines that do not say.",
)
@click.option("--errors", type=click.Path(path_type=Path, dir_okay=False), help="Write refused lines there, as JSON.")
@pass_invocation
def import_devices(invocation: Invocation, /, file: IO[bytes], kind: str | None, mode: str, errors: Path | None) -> int:
    """Create, change or delete the devices and modules that FILE lists; - is standard input.

    FILE has a JSON object a line, as `moorage device export` writes it, or is CSV with a heading. A line that is
    refused keeps no other from being done; it is listed, and the exit code is 1. To import the same file again does no
    harm.
    """
    hub = invocation.hub()
    first = next(iter(file), b"")
    kind = kind or ("csv" if file.name.lower().endswith(".csv") or _is_heading(first) else "json")
    size = _size(file)
    began = time.monotonic()
    tally = _Tally()
    with _bar(size, "Importing") as moved:
        lines = (read_csv if kind == "csv" else read_json_lines)(_counted(chain([first] if first else [], file), moved))
        try:
            _send(hub, _with_mode(_once(lines, tally), mode), tally, parallel=_PARALLEL)
            _send_later(hub, tally)
        except Unavailable as refusal:
            raise Unavailable(
                refusal.reason,
                f"{refusal.message}; {tally.done} of the lines were done before",
                fix="import the file again once the hub answers: what was done stays as it is",
            ) from refusal
    took_s = time.monotonic() - began
    tally.refused.sort(key=lambda each: each["line"])
    if errors is not None:
        errors.write_text("".join(json.dumps(each) + "\n" for each in tally.refused))
    document = {"done": tally.done, "refused": len(tally.refused), "seconds": round(took_s, 3)}
    _list_refused(invocation, tally, errors)
    invocation.report(
        {**document, "errors": tally.refused},
        f"Imported {tally.done:,} in {took_s:.1f} s"
        + (f"; {len(tally.refused):,} lines were refused." if tally.refused else "."),
    )
    return 1 if tally.refused else 0


import_devices.epilog = "Columns of CSV: " + "; ".join(f"{name}: {about}" for name, about in COLUMNS.items()) + "."


@click.command("export", cls=Command)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option("--no-keys", is_flag=True, help="Leave symmetric keys out.")
@click.option("--force", is_flag=True, help="Write over FILE.")
@pass_invocation
def export_devices(invocation: Invocation, /, file: Path | None, no_keys: bool, force: bool) -> None:
    """Write every device and module with its twin, a JSON object a line, to FILE or standard output.

    The file holds keys and is readable by you alone. `moorage device import` and import jobs read it.
    """
    if file is not None and file.suffix.lower() == ".csv":
        raise click.UsageError(
            f"an export is JSON, an object a line, but {file} would be read as CSV; name it "
            f"{file.with_suffix('.jsonl')}"
        )
    hub = invocation.hub()
    lines = hub.lines("/moorage/v1/devices:export", {"keys": "no" if no_keys else "yes"})
    if file is None:
        _print_lines(lines)
        return
    if file.exists() and not force:
        raise Conflict("file.exists", f"{file} exists", fix="--force writes over it")
    where = plain_file(file)
    total = hub.request("GET", "/statistics/devices")["totalDeviceCount"]
    count = 0
    part = where.with_name(f".{where.name}.part")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as written:
            os.fchmod(written.fileno(), 0o600)
            with _bar(total, "Exporting") as moved:
                for line in lines:
                    written.write(line + b"\n")
                    count += 1
                    if count % _BATCH == 0:
                        moved.update(_BATCH)
            os.fsync(written.fileno())
        part.replace(where)
    finally:
        part.unlink(missing_ok=True)
    invocation.report({"file": str(file), "lines": count}, f"Wrote {count:,} lines to {escape(file)}.")


def _print_lines(lines: Iterator[bytes]) -> None:
    on_terminal = sys.stdout.isatty()
    for line in lines:
        # Twins hold what devices sent: on a terminal nothing of it may be more than text.
        sys.stdout.buffer.write((json.dumps(json.loads(line)).encode() if on_terminal else line) + b"\n")
    sys.stdout.buffer.flush()


def _once(lines: Iterable[FleetLine], tally: _Tally) -> Iterator[FleetLine]:
    """Lines that can be sent; of several for one identity the first."""
    seen: dict[str, int] = {}
    for line in lines:
        if line.refusal is not None or line.item is None:
            refusal = line.refusal or Invalid("json.not_object", "the line is no JSON object")
            tally.refuse(line, {"reason": refusal.reason, "message": refusal.message})
            continue
        first = seen.setdefault(line.name, line.number)
        if first != line.number:
            tally.refuse(line, {"reason": "import.twice", "message": f"line {first} is about {line.name!r} already"})
            continue
        yield line


def _with_mode(lines: Iterable[FleetLine], mode: str) -> Iterator[FleetLine]:
    for line in lines:
        if line.item is not None and not any(member.lower() == "importmode" for member in line.item):
            line.item["importMode"] = mode
        yield line


def _send(hub: HubClient, lines: Iterable[FleetLine], tally: _Tally, *, parallel: int) -> None:
    """Send them in batches, some at a time. Raises `Refusal` when a whole batch is refused."""
    with ThreadPoolExecutor(parallel) as pool:
        running: dict[Future[dict[str, Any]], list[FleetLine]] = {}
        try:
            for batch in _batches(lines):
                running[pool.submit(hub.bulk, [line.item for line in batch])] = batch
                while len(running) >= parallel:
                    _collect(running, tally)
            while running:
                _collect(running, tally)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _collect(running: dict[Future[dict[str, Any]], list[FleetLine]], tally: _Tally) -> None:
    finished, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in finished:
        tally.count(running.pop(future), future.result())


def _send_later(hub: HubClient, tally: _Tally) -> None:
    """Send those that waited for others again, in their order, as long as that leads on."""
    for _ in range(_MAX_ROUNDS):
        waiting, tally.later = sorted((line for line, _ in tally.later), key=lambda line: line.number), []
        before = tally.done
        for batch in _batches(waiting):
            tally.count(batch, hub.bulk([line.item for line in batch]))
        if not tally.later or tally.done == before:
            break
    for line, error in tally.later:
        tally.refuse(line, _why(line, error))


def _batches(lines: Iterable[FleetLine]) -> Iterator[list[FleetLine]]:
    batch: list[FleetLine] = []
    size = 0
    for line in lines:
        if batch and (len(batch) >= _BATCH or size + line.size > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += line.size
    if batch:
        yield batch


def _may_come(line: FleetLine, error: dict[str, Any]) -> bool:
    if error["reason"] == "device.not_found":
        return line.item is not None and bool(line.item.get("moduleId"))
    return bool(error["reason"] == "device_scope.unknown")


def _why(line: FleetLine, error: dict[str, Any]) -> dict[str, Any]:
    fix = error.get("fix", "")
    why = {"reason": error["reason"], "message": error["errorStatus"].removesuffix(f". {fix}" if fix else "")}
    if error["reason"] == "device_scope.unknown" and line.parent:
        why["message"] = f"there is no edge device '{line.parent}' that it could stand below"
    return {**why, "fix": fix} if fix else why


def _list_refused(invocation: Invocation, tally: _Tally, errors: Path | None) -> None:
    if invocation.as_json:
        return
    for each in tally.refused[:_SHOWN]:
        about = f" {escape(each['id'])}" if each["id"] else ""
        click.echo(f"line {each['line']}{about}: {escape(each['reason'])}: {escape(each['message'])}", err=True)
    if len(tally.refused) > _SHOWN:
        where = f"{errors} has them all" if errors is not None else "--errors FILE writes them all down"
        click.echo(f"... and {len(tally.refused) - _SHOWN:,} more; {where}", err=True)


def _size(file: IO[bytes]) -> int:
    """Bytes of a plain file, 0 of a pipe."""
    try:
        return os.fstat(file.fileno()).st_size
    except OSError:
        return 0


def _is_heading(line: bytes) -> bool:
    """Whether a file that begins so is CSV, whatever it is called."""
    text = line.decode("utf-8-sig", "replace").strip().lower()
    return not text.startswith("{") and "id" in (cell.strip().strip('"') for cell in text.split(","))


def _counted(lines: Iterable[bytes], moved: _Moved) -> Iterator[bytes]:
    for line in lines:
        yield line
        moved.update(len(line))


class _Moved(Protocol):
    def update(self, steps: int) -> None: ...


@contextmanager
def _bar(length: int, label: str) -> Iterator[_Moved]:
    """A bar on a terminal, nothing where the output is read by a program."""
    hidden = not length or not sys.stderr.isatty()
    with click.progressbar(length=max(1, length), label=label, file=sys.stderr, hidden=hidden) as bar:
        yield bar
