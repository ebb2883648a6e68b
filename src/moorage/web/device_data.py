"""What a device sent and was told, as it came: nothing is hidden, what cannot be read is shown as bytes and says why.

One row for each message, change of properties and command, the newest first (contract/central.md 9.1). A value has the
column of its capability; one that does not fit its schema says why; what the model does not have is unmodelled data.

An open page is told of new messages by server-sent events that carry rows of the table. It is told of them in batches,
and where more come than anybody reads, it is told how many bytes of the log were passed over.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from urllib.parse import urlencode

from starlette.responses import Response

from moorage.dialects.times import parse_typed_time
from moorage.errors import Invalid, NotFound, Unavailable
from moorage.fleet.aliases import Alias
from moorage.fleet.commands import CommandRun
from moorage.fleet.device_models import DeviceModel
from moorage.fleet.raw_data import ColumnKey, columns_of
from moorage.hub.telemetry_log import LogCorrupt, StoredMessage
from moorage.ids import DeviceId
from moorage.web.data_rows import MAX_SHOWN, DataRow, command_row, message_row
from moorage.web.device_page import DevicePage, path_of
from moorage.web.live import HEARTBEAT_S, LivePages, pause_after
from moorage.web.pages import Page, Visit
from moorage.web.recent import RecentMessages
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices
from moorage.web.tiles import key_text

__all__ = ["MAX_SHOWN", "data_pages"]

_ROWS: Final = 50
# Of bodies on one page, each of which has to be parsed: what is more comes on the next page.
_MOST_BYTES: Final = 1024 * 1024
_SPANS: Final = {"15 minutes": 15, "hour": 60, "day": 24 * 60, "week": 7 * 24 * 60}
_SPAN: Final = "hour"
_BATCH_S: Final = 0.2
# Columns that are shown until somebody chooses; all may be.
_FIRST_COLUMNS: Final = 4


def data_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Data(services, renderer)
    return [
        Page("GET", "/devices/{device_id}/data", pages.show, "data.view"),
        Page("GET", "/devices/{device_id}/data/live", pages.live, "data.view"),
        Page("GET", "/devices/{device_id}/data/{offset}/body", pages.body, "data.view"),
    ]


class _Data:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._renderer = renderer
        self._page = DevicePage(services, renderer)
        self._recent = RecentMessages(services.log, services.series)
        self._live = LivePages(services.accounts)

    async def show(self, visit: Visit) -> Response:
        services = self._services
        model = self._page.find(visit)
        device_id = model.device.record.device_id
        now = services.clock.now()
        problem: Invalid | None = None
        try:
            asked = _asked(visit, now)
        except Invalid as refusal:
            problem, asked = refusal, _Asked(_SPAN, now - timedelta(minutes=_SPANS[_SPAN]), None)
        since, before = asked.since, _place(visit.query.get("before", ""))
        if before is None and asked.until is not None:
            before = await self._recent.place_at(asked.until)
        all_columns = [key for key, _ in columns_of(model.interface)]
        # Before the read: what comes after it is told by the live part.
        end = services.log.durable_end
        recent = (await self._recent.find(device_id, since, before, _ROWS)).within(_MOST_BYTES)
        runs = await services.commands.runs(visit.actor, device_id)
        rows = await asyncio.to_thread(_rows, model, recent.messages, self._aliases(visit, device_id), all_columns)
        columns = _chosen(visit, all_columns) or _columns_in_use(all_columns, rows)
        rows = _narrowed(rows, [all_columns.index(key) for key in columns])
        is_first = "before" not in visit.query
        newest = now if is_first else await self._before(device_id, before, recent.messages) or now
        newest = newest if asked.until is None else min(newest, asked.until)
        is_live = is_first and asked.until is None
        oldest = since if recent.older is None else recent.messages[-1].enqueued_time
        rows = _with_commands(rows, runs, oldest, None if is_live else newest, len(columns))
        # Rows that come later have the columns that these have.
        chosen = [("columns", "chosen"), *(("column", key_text(*key)) for key in columns)]
        query = [*asked.fields.items(), *(chosen if "columns" in visit.query else [])]
        here = path_of(device_id) + "/data"
        return await self._page.page(
            visit,
            model,
            "device/data.html",
            tab="data",
            rows=rows,
            columns=columns,
            all_columns=all_columns,
            labels=_labels(model),
            is_whole=recent.is_whole,
            older="" if recent.older is None else f"{here}?{urlencode([*query, ('before', recent.older)])}",
            newest="" if is_first else f"{here}?{urlencode(query)}",
            live=f"{here}/live?{urlencode([('from', end), *chosen])}" if is_live else "",
            data=here,
            span=asked.span,
            spans=list(_SPANS),
            since=visit.query.get("since", "") if problem or not asked.span else "",
            until=visit.query.get("until", "") if problem or not asked.span else "",
            is_chosen="columns" in visit.query,
            problem=problem,
        )

    async def _before(
        self, device_id: DeviceId, place: int | None, messages: Sequence[StoredMessage]
    ) -> datetime | None:
        """Up to when a later page has the commands: it goes on where the one before it ended, at that place of the log.

        Where that message is gone meanwhile, up to the first one that is there.
        """
        last = None if place is None else await self._recent.at(device_id, place)
        if last is not None:
            return last.enqueued_time - timedelta(microseconds=1)
        return messages[0].enqueued_time if messages else None

    async def body(self, visit: Visit) -> Response:
        """The body of one message as it came, all of it. Raises `NotFound` (`telemetry.gone`)."""
        device_id = self._page.find(visit).device.record.device_id
        offset = _place(visit.path["offset"])
        message = None if offset is None else await self._recent.at(device_id, offset)
        if message is None:
            raise NotFound("telemetry.gone", "this message is not kept any more, or never was one of this device")
        headers = {"content-disposition": f'attachment; filename="message-{message.offset}.bin"'}
        return Response(message.body, media_type="application/octet-stream", headers=headers)

    async def live(self, visit: Visit) -> Response:
        """Raises `Exhausted` (`telemetry.followers`)."""
        model = self._page.find(visit)
        asked = _place(visit.request.headers.get("last-event-id") or visit.query.get("from", ""))
        end = self._services.log.durable_end
        begin = end if asked is None else min(asked, end)
        return self._live.stream(visit, self._events(visit, model, begin))

    async def _events(self, visit: Visit, model: DeviceModel, offset: int) -> AsyncGenerator[str, None]:
        log, device_id = self._services.log, model.device.record.device_id
        columns = _chosen(visit, [key for key, _ in columns_of(model.interface)])
        loop = asyncio.get_running_loop()
        yield ": following\n\n"
        while self._live.is_signed_in(visit):
            try:
                # Who may no longer see it hears no more of it.
                model = self._page.find(visit)
                page = await log.read(from_offset=offset, device_id=device_id, limit=_ROWS)
            except LogCorrupt as damage:
                offset = damage.resume_offset
                continue
            except (NotFound, Unavailable):
                # The hub is shutting down, or its disk went: the page connects again by itself.
                return
            offset, passed, pause = page.next_offset, 0, _BATCH_S
            if page.messages and not page.at_end:
                offset, passed = log.durable_end, log.durable_end - offset
            if page.messages:
                aliases = self._aliases(visit, device_id)
                began = loop.time()
                html = await asyncio.to_thread(
                    self._render, visit, model, page.messages[::-1], aliases, columns, passed
                )
                pause = pause_after(loop.time() - began, self._live.open, least_s=_BATCH_S)
                yield f"id: {offset}\n" + "".join(f"data: {line}\n" for line in html.splitlines()) + "\n"
            if page.at_end:
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        await log.wait_beyond(offset)
                except TimeoutError:
                    yield ": still here\n\n"
            await asyncio.sleep(pause)

    def _render(
        self,
        visit: Visit,
        model: DeviceModel,
        messages: Sequence[StoredMessage],
        aliases: Sequence[Alias],
        columns: Sequence[ColumnKey],
        passed: int,
    ) -> str:
        rows = _rows(model, messages, aliases, columns)
        here = path_of(model.device.record.device_id)
        return self._renderer.text(
            visit,
            "device/data_rows.html",
            rows=rows,
            columns=columns,
            labels=_labels(model),
            passed=passed,
            here=here,
        )

    def _aliases(self, visit: Visit, device_id: DeviceId) -> list[Alias]:
        return self._services.aliases.of_device(visit.actor, device_id)


class _Asked(NamedTuple):
    """Of which time: the last `span`, or from `since` to `until`; None is now."""

    span: str
    since: datetime
    until: datetime | None

    @property
    def fields(self) -> dict[str, str]:
        """For an address."""
        if self.span:
            return {"span": self.span}
        return {"since": _typed(self.since), **({"until": _typed(self.until)} if self.until else {})}


def _asked(visit: Visit, now: datetime) -> _Asked:
    """Raises `Invalid` (`time.malformed`, `query.times`)."""
    since, until = (parse_typed_time(visit.query.get(name, ""), what=name) for name in ("since", "until"))
    span = visit.query.get("span", "")
    if span in _SPANS or since is None:
        span = span if span in _SPANS else _SPAN
        return _Asked(span, now - timedelta(minutes=_SPANS[span]), None)
    if until is not None and until <= since:
        raise Invalid("query.times", f"the time ends at {_typed(until)}, and begins at {_typed(since)}")
    return _Asked("", since, until)


def _typed(moment: datetime) -> str:
    """As a form has it, in UTC."""
    return moment.replace(tzinfo=None).isoformat(timespec="seconds")


def _chosen(visit: Visit, every: Sequence[ColumnKey]) -> list[ColumnKey]:
    """Those that somebody asked for."""
    chosen = set(visit.request.query_params.getlist("column"))
    return [key for key in every if key_text(*key) in chosen]


def _columns_in_use(every: Sequence[ColumnKey], rows: Sequence[DataRow]) -> list[ColumnKey]:
    """Until somebody chooses: those that have most in these rows, and else the first."""
    filled = {key: sum(1 for row in rows if row.cells[at].text) for at, key in enumerate(every)}
    most = sorted(every, key=lambda key: -filled[key])[:_FIRST_COLUMNS]
    return [key for key in every if key in most and (filled[key] or not any(filled.values()))]


def _narrowed(rows: Sequence[DataRow], places: Sequence[int]) -> list[DataRow]:
    return [replace(row, cells=[row.cells[place] for place in places]) for row in rows]


def _rows(
    model: DeviceModel, messages: Sequence[StoredMessage], aliases: Sequence[Alias], columns: Sequence[ColumnKey]
) -> list[DataRow]:
    """For a thread: a body may have 256 KiB."""
    return [message_row(message, model.interface, aliases, columns) for message in messages]


def _with_commands(
    rows: list[DataRow], runs: Sequence[CommandRun], oldest: datetime, newest: datetime | None, columns: int
) -> list[DataRow]:
    """Runs of commands where they belong in time."""
    fitting = [run for run in runs if run.started >= oldest and (newest is None or run.started <= newest)]
    return sorted([*rows, *(command_row(run, columns) for run in fitting)], key=lambda row: row.at, reverse=True)


def _labels(model: DeviceModel) -> dict[ColumnKey, str]:
    return {key: declared.label for key, declared in columns_of(model.interface)}


def _place(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
