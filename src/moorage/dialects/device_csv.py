"""Devices as rows of a file that spreadsheets read (contract/central.md LST-3, LST-4).

    IOTC_DEVICEID, IOTC_DEVICENAME                                    what an import reads; the name may be missing
    IOTC_SASKEY_PRIMARY, ..., IOTC_X509THUMBPRINT_SECONDARY           what an export has besides

A cell that a spreadsheet would take for a formula is written with an apostrophe before it, which an import takes away
again (decisions T14).
"""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import BinaryIO, Final, NamedTuple

from moorage.accounts.model import Actor
from moorage.errors import Invalid, Refusal, TooLarge
from moorage.fleet.export import exported_in
from moorage.fleet.model import DeviceFilter, DeviceRecord, FleetTables, check_display_name, parse_plain_id
from moorage.fleet.operation_model import Item
from moorage.fleet.operations import BATCH, DeviceOperations
from moorage.ids import DeviceId, HubId, Secret, Thumbprint

__all__ = [
    "MAX_BYTES",
    "MAX_ROWS",
    "ErrorRow",
    "ExportedDevice",
    "ImportedDevice",
    "csv_text",
    "export_header",
    "export_rows",
    "exported_text",
    "read_devices",
    "read_items",
]

# central.md LIM-1
MAX_ROWS: Final = 200_000
MAX_BYTES: Final = 16 * 1024 * 1024
_ID: Final = "IOTC_DEVICEID"
_NAME: Final = "IOTC_DEVICENAME"
_COLUMNS: Final = (
    _ID,
    _NAME,
    "IOTC_SASKEY_PRIMARY",
    "IOTC_SASKEY_SECONDARY",
    "IOTC_X509THUMBPRINT_PRIMARY",
    "IOTC_X509THUMBPRINT_SECONDARY",
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_MAX_LINE: Final = 64 * 1024


class ImportedDevice(NamedTuple):
    """`line` is where it stands in the file, from 1."""

    line: int
    device_id: DeviceId
    display_name: str


class ErrorRow(NamedTuple):
    """A line that is no device."""

    line: int
    refusal: Refusal


class ExportedDevice(NamedTuple):
    """What an export says of a device. Keys and thumbprints are of its identity, or of its own enrollment."""

    record: DeviceRecord
    keys: tuple[Secret, Secret] | None = None
    thumbprints: tuple[Thumbprint | None, Thumbprint | None] = (None, None)


def read_devices(file: BinaryIO) -> Iterator[ImportedDevice | ErrorRow]:
    """The rows of a file in UTF-8, its columns parted by commas or semicolons, one at a time.

    Raises, at its beginning: `Invalid` (`csv.encoding`, `csv.columns`). On the way: `Invalid` (`csv.encoding`),
    `TooLarge` (`csv.rows`, `csv.line`).
    """
    lines = _lines(file)
    first = next(lines, "")
    delimiter = ";" if first.count(";") > first.count(",") else ","
    names = [name.strip().upper() for name in next(csv.reader([first], delimiter=delimiter), [])]
    if _ID not in names:
        raise Invalid(
            "csv.columns",
            f"the first line of the file names its columns, and one of them has to be {_ID}; this one has "
            f"{', '.join(names)[:200] or 'none'}",
        )
    at_id, at_name = names.index(_ID), names.index(_NAME) if _NAME in names else None
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    count = 0
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield ErrorRow(rows.line_num + 1, Invalid("csv.row", f"the line cannot be read: {error}"))
            continue
        if not any(cell.strip() for cell in row):
            continue
        count += 1
        if count > MAX_ROWS:
            raise TooLarge("csv.rows", f"a file has at most {MAX_ROWS} devices")
        yield _device(rows.line_num + 1, row, at_id, at_name)


async def read_items(file: BinaryIO) -> AsyncIterator[Sequence[Item]]:
    """The rows of a file as what an import works off, in batches; read in a thread. Raises as `read_devices`."""
    rows = map(_item, read_devices(file))
    while batch := await asyncio.to_thread(_some, rows):
        yield batch


def _some(rows: Iterator[Item]) -> list[Item]:
    return list(islice(rows, BATCH))


def _item(row: ImportedDevice | ErrorRow) -> Item:
    if isinstance(row, ErrorRow):
        return Item("", row.line, reason=row.refusal.reason, message=row.refusal.message)
    return Item(row.device_id, row.line, row.display_name)


async def exported_text(
    operations: DeviceOperations, hub: HubId, actor: Actor, wanted: DeviceFilter
) -> AsyncIterator[str]:
    """The whole file, made as it is read."""
    yield export_header()
    async for batch in operations.matching(actor, wanted):
        yield await operations.scan(partial(_exported, hub, batch))


def _exported(hub: HubId, device_ids: Sequence[DeviceId], tables: FleetTables) -> str:
    return export_rows(ExportedDevice(*each) for each in exported_in(tables, hub, device_ids))


def export_header() -> str:
    return csv_text([_COLUMNS])


def export_rows(devices: Iterable[ExportedDevice]) -> str:
    return csv_text(
        (
            each.record.device_id,
            each.record.display_name,
            *(("", "") if each.keys is None else (key.reveal() for key in each.keys)),
            *(thumbprint or "" for thumbprint in each.thumbprints),
        )
        for each in devices
    )


def csv_text(rows: Iterable[Iterable[str]]) -> str:
    """Rows of text that came from anywhere, as a spreadsheet may have them (RFC 4180)."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows([_escaped(cell) for cell in row] for row in rows)
    return out.getvalue()


def _device(line: int, row: Sequence[str], at_id: int, at_name: int | None) -> ImportedDevice | ErrorRow:
    def cell(at: int | None) -> str:
        return "" if at is None or at >= len(row) else _unescaped(row[at].strip())

    try:
        return ImportedDevice(line, parse_plain_id(cell(at_id)), check_display_name(cell(at_name)))
    except Refusal as refusal:
        return ErrorRow(line, refusal)


def _lines(file: BinaryIO) -> Iterator[str]:
    codec = "utf-8-sig"
    while line := file.readline(_MAX_LINE + 1):
        if len(line) > _MAX_LINE:
            raise TooLarge("csv.line", f"a line has at most {_MAX_LINE} bytes; is this a file of devices?")
        try:
            yield line.decode(codec)
        except UnicodeDecodeError:
            raise Invalid("csv.encoding", "the file is not text in UTF-8; save it as CSV UTF-8") from None
        codec = "utf-8"


def _escaped(cell: str) -> str:
    """Also of what would be taken for one that was written so."""
    return f"'{cell}" if cell.lstrip("'").startswith(_FORMULA) else cell


def _unescaped(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(_FORMULA) else cell
