"""Devices with the certificate that each showed last, as a CSV file of any length."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Final

from starlette.responses import Response, StreamingResponse

from moorage.dialects.csv_text import csv_lines
from moorage.dialects.times import format_time
from moorage.fleet.sightings import PathId, Sighting

__all__ = ["sightings_as_csv"]

_CHUNK: Final = 1000
_HEADINGS: Final = ("device", "module", "issued by", "subject", "thumbprint", "ends", "last seen")


def sightings_as_csv(
    file: str,
    read: Callable[[int, str], Awaitable[Sequence[Sighting]]],
    reasons: Mapping[PathId, tuple[str, str]] | None = None,
) -> Response:
    """A download that is made as it is read, by `read(limit, after)`; with (reason, sentence) of each path if given."""
    return StreamingResponse(
        _lines(read, reasons),
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": f'attachment; filename="{file}"'},
    )


async def _lines(
    read: Callable[[int, str], Awaitable[Sequence[Sighting]]],
    reasons: Mapping[PathId, tuple[str, str]] | None,
) -> AsyncIterator[str]:
    yield csv_lines([[*_HEADINGS, *(("reason", "why") if reasons is not None else ())]])
    after = ""
    while found := await read(_CHUNK, after):
        rows = [[*_row(each), *(() if reasons is None else reasons.get(each.path_id, ("", "")))] for each in found]
        yield await asyncio.to_thread(csv_lines, rows)
        if len(found) < _CHUNK:
            return
        after = str(found[-1].name)


def _row(sighting: Sighting) -> list[str]:
    return [
        sighting.name.device_id,
        sighting.name.module_id or "",
        sighting.issuer,
        sighting.subject,
        sighting.thumbprint,
        format_time(sighting.not_after),
        format_time(sighting.last_seen),
    ]
