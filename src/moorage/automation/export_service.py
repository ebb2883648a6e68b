"""Data exports and destinations as people make, change and switch them; each change is one line of the audit log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from moorage.accounts.model import Actor, OrganizationId
from moorage.automation.export_runner import EVENT_SOURCES, EXPORTS_CHANGED, LOG_SOURCES, Selecting, reader_of
from moorage.automation.exports import (
    MAX_DESTINATIONS,
    MAX_EXPORTS,
    DataExport,
    Destination,
    DestinationId,
    DestinationUse,
    ExportId,
    ExportSource,
    ExportTables,
    check_destination,
    check_export,
)
from moorage.clock import Clock
from moorage.errors import Conflict, Forbidden, NotFound, TooLarge
from moorage.events import Event
from moorage.hub.notification_model import Source
from moorage.hub.router import Outgoing
from moorage.hub.telemetry_log import LogCorrupt, StoredMessage, TelemetryLog
from moorage.ids import ETag, HubId, check_etag
from moorage.store import Store

__all__ = ["ExportService"]

audit = logging.getLogger("moorage.audit")

# Events of the hub that exports need; it does not tell of them unless somebody asks.
_TOLD: Final[dict[ExportSource, Source]] = {
    "properties": "twinChangeEvents",
    "deviceConnectivity": "deviceConnectionStateEvents",
}
_SAMPLE_PAGE: Final = 1000
_SAMPLE_READS: Final = 20
# The log has no index by what exports take, so longer and longer times are looked through.
_SAMPLE_SPANS: Final = (timedelta(minutes=1), timedelta(minutes=10), timedelta(hours=2), timedelta(days=1))


class ExportService:
    """The exports of one hub's application. An actor sees those of the organisations that it sees."""

    def __init__(
        self,
        hub: HubId,
        store: Store[ExportTables],
        telemetry: TelemetryLog,
        clock: Clock,
        selecting: Selecting,
        vet: Callable[[Destination], None],
    ) -> None:
        self._hub = hub
        self._store = store
        self._log = telemetry
        self._clock = clock
        self._selecting = selecting
        self._vet = vet

    # -- looking -------------------------------------------------------------------------------------------------------

    def get(self, actor: Actor, export_id: str) -> DataExport:
        """Raises `NotFound` (`export.unknown`)."""
        return self._seen(self._store.read(), actor, export_id)

    def get_destination(self, actor: Actor, destination_id: str) -> Destination:
        """Raises `NotFound` (`export.destination_unknown`)."""
        return self._seen_destination(self._store.read(), actor, destination_id)

    def all(self, actor: Actor) -> list[DataExport]:
        found = [each for each in self._store.read().exports.all(self._hub) if actor.sees(each.organization)]
        return sorted(found, key=lambda each: (each.display_name.casefold(), each.export_id))

    def destinations(self, actor: Actor) -> list[Destination]:
        found = self._store.read().exports.destinations(self._hub)
        seen = [each for each in found if actor.sees(each.organization)]
        return sorted(seen, key=lambda each: (each.display_name.casefold(), each.destination_id))

    # -- exports -------------------------------------------------------------------------------------------------------

    async def create(self, actor: Actor, export: DataExport) -> DataExport:
        """It begins now, when it is enabled (CDE-10).

        Raises as `check_export`; `Conflict` (`export.exists`), `TooLarge` (`export.too_many`), `Forbidden`
        (`organization.not_seen`, `export.audit`), `NotFound` (`export.destination_unknown`).
        """
        now = self._clock.now()
        made = replace(export, hub=self._hub, created=now, switched=now, version=1)
        self._check(actor, made)

        def work(tables: ExportTables) -> None:
            if tables.exports.find(self._hub, made.export_id) is not None:
                raise Conflict("export.exists", f"there is a data export '{made.export_id}' already")
            if len(tables.exports.all(self._hub)) >= MAX_EXPORTS:
                raise TooLarge("export.too_many", f"there are {MAX_EXPORTS} data exports, no more may be")
            self._put(tables, actor, made, None)

        await self._store.write(work)
        self._tell("export.created", actor, made)
        return made

    async def update(self, actor: Actor, export: DataExport, *, if_match: ETag | None = None) -> DataExport:
        """Put it in the place of the one of its id; destinations that are new begin now.

        Raises as `create`; `NotFound` (`export.unknown`), `PreconditionFailed` (`etag.stale`).
        """
        self._check(actor, export)
        changed = await self._change(actor, export.export_id, if_match, lambda _present: export)
        self._tell("export.updated", actor, changed)
        return changed

    async def switch(self, actor: Actor, export_id: str, *, is_enabled: bool) -> DataExport:
        """Raises `NotFound` (`export.unknown`)."""
        changed = await self._change(actor, export_id, None, lambda present: replace(present, is_enabled=is_enabled))
        self._tell("export.switched", actor, changed, state="on" if is_enabled else "off")
        return changed

    async def delete(self, actor: Actor, export_id: str) -> None:
        """Raises `NotFound` (`export.unknown`)."""

        def work(tables: ExportTables) -> DataExport:
            present = self._seen(tables, actor, export_id)
            self._forget(tables, present, {use.destination_id for use in present.destinations})
            tables.exports.delete(self._hub, present.export_id)
            self._settle_sources(tables)
            tables.outbox.emit(Event(EXPORTS_CHANGED, self._hub, present.export_id))
            return present

        self._tell("export.deleted", actor, await self._store.write(work))

    def _check(self, actor: Actor, export: DataExport) -> None:
        check_export(export)
        _check_sees(actor, export.organization)
        _check_audit(actor, export)

    async def _change(
        self, actor: Actor, export_id: str, if_match: ETag | None, decide: Callable[[DataExport], DataExport]
    ) -> DataExport:
        now = self._clock.now()

        def work(tables: ExportTables) -> DataExport:
            present = self._seen(tables, actor, export_id)
            check_etag(f"the data export '{export_id}'", if_match, present.etag)
            _check_audit(actor, present)
            decided = decide(present)
            changed = replace(
                decided,
                hub=self._hub,
                created=present.created,
                switched=now if decided.is_enabled != present.is_enabled else present.switched,
                version=present.version + 1,
            )
            self._put(tables, actor, changed, present)
            return changed

        return await self._store.write(work)

    def _put(self, tables: ExportTables, actor: Actor, export: DataExport, before: DataExport | None) -> None:
        """Store it with the places of its destinations: from now on for those that begin, none for those that end."""
        for use in export.destinations:
            self._seen_destination(tables, actor, use.destination_id)
        used = {use.destination_id for use in before.destinations} if before and before.is_enabled else set()
        if before is not None and before.source != export.source:
            self._forget(tables, before, used)
            used = set()
        wanted = {use.destination_id for use in export.destinations} if export.is_enabled else set()
        self._forget(tables, export, used - wanted)
        for destination in wanted - used:
            if export.source in LOG_SOURCES:
                reader = reader_of(export.export_id, destination, "log")
                tables.log_readers.put_place(self._hub, reader, self._log.durable_end)
            if export.source in EVENT_SOURCES:
                reader = reader_of(export.export_id, destination, "events")
                tables.log_readers.put_place(self._hub, reader, tables.exports.last_event(self._hub))
        tables.exports.put(export)
        self._settle_sources(tables)
        tables.outbox.emit(Event(EXPORTS_CHANGED, self._hub, export.export_id))

    def _forget(self, tables: ExportTables, export: DataExport, destinations: set[DestinationId]) -> None:
        for destination in destinations:
            for feed in ("log", "events"):
                reader = reader_of(export.export_id, destination, "log" if feed == "log" else "events")
                tables.log_readers.forget(self._hub, reader)

    def _settle_sources(self, tables: ExportTables) -> None:
        """Have the hub tell of what exports take, and of no more."""
        wanted = frozenset(
            _TOLD[each.source] for each in tables.exports.all(self._hub) if each.is_enabled and each.source in _TOLD
        )
        sources = tables.notifications.sources(self._hub)
        if sources.exported != wanted:
            tables.notifications.put_sources(self._hub, replace(sources, exported=wanted))

    # -- destinations --------------------------------------------------------------------------------------------------

    async def create_destination(self, actor: Actor, destination: Destination) -> Destination:
        """Raises as `check_destination`; `Conflict` (`export.exists`), `TooLarge` (`export.too_many`), `Forbidden`."""
        made = replace(destination, hub=self._hub, created=self._clock.now(), version=1)
        self.check_destination(actor, made)

        def work(tables: ExportTables) -> None:
            if tables.exports.find_destination(self._hub, made.destination_id) is not None:
                raise Conflict("export.exists", f"there is a destination '{made.destination_id}' already")
            if len(tables.exports.destinations(self._hub)) >= MAX_DESTINATIONS:
                raise TooLarge("export.too_many", f"there are {MAX_DESTINATIONS} destinations, no more may be")
            tables.exports.put_destination(made)

        await self._store.write(work)
        self._tell_destination("destination.created", actor, made)
        return made

    async def update_destination(
        self, actor: Actor, destination: Destination, *, if_match: ETag | None = None
    ) -> Destination:
        """Raises as `create_destination`; `NotFound`, `PreconditionFailed` (`etag.stale`), `Forbidden`
        (`export.audit`) where the audit log goes there."""
        self.check_destination(actor, destination)

        def work(tables: ExportTables) -> Destination:
            present = self._seen_destination(tables, actor, destination.destination_id)
            check_etag(f"the destination '{present.destination_id}'", if_match, present.etag)
            for export in tables.exports.all(self._hub):
                if any(use.destination_id == present.destination_id for use in export.destinations):
                    # To send it elsewhere is to read it.
                    _check_audit(actor, export)
                    if not actor.sees(export.organization):
                        raise Forbidden(
                            "organization.not_seen",
                            f"'{present.display_name}' is also a destination of an organization that you do not see",
                        )
            changed = replace(destination, hub=self._hub, created=present.created, version=present.version + 1)
            tables.exports.put_destination(changed)
            tables.outbox.emit(Event(EXPORTS_CHANGED, self._hub, changed.destination_id))
            return changed

        changed = await self._store.write(work)
        self._tell_destination("destination.updated", actor, changed)
        return changed

    async def delete_destination(self, actor: Actor, destination_id: str) -> None:
        """Raises `NotFound`; `Conflict` (`export.destination_used`) while an export names it."""

        def work(tables: ExportTables) -> Destination:
            present = self._seen_destination(tables, actor, destination_id)
            users = [
                each.display_name if actor.sees(each.organization) else "a data export that you do not see"
                for each in tables.exports.all(self._hub)
                if any(use.destination_id == present.destination_id for use in each.destinations)
            ]
            if users:
                raise Conflict(
                    "export.destination_used", f"'{present.display_name}' is a destination of {', '.join(users)[:200]}"
                )
            tables.exports.delete_destination(self._hub, present.destination_id)
            return present

        self._tell_destination("destination.deleted", actor, await self._store.write(work))

    def check_destination(self, actor: Actor, destination: Destination) -> None:
        """Raises as `create_destination` does before it looks at the store."""
        check_destination(destination)
        _check_sees(actor, destination.organization)
        self._vet(destination)

    # -- a sample ------------------------------------------------------------------------------------------------------

    async def sample(self, actor: Actor, export: DataExport, use: DestinationUse) -> Outgoing | None:
        """The body of the newest thing of the last day that `export` would send there, which need not be stored.

        None when there is none. Raises as `check_export`; `NotFound` (`export.destination_unknown`), `TooLarge`
        (`export.body`).
        """
        self._check(actor, export)
        destination = self.get_destination(actor, use.destination_id)
        compose = partial(self._newest, export, use, destination)
        if export.source in EVENT_SOURCES:
            last = self._store.read().exports.last_event(self._hub)
            found = await self._store.scan(lambda tables: compose(self._events(tables, export, last), tables))
            if found is not None:
                return found
        if export.source not in LOG_SOURCES:
            return None
        for span in _SAMPLE_SPANS:
            newest = await self._newest_since(compose, export, self._clock.now() - span)
            if newest is not None:
                return newest
        return None

    async def _newest_since(
        self,
        compose: Callable[[Sequence[Any], ExportTables], Outgoing | None],
        export: DataExport,
        since: datetime,
    ) -> Outgoing | None:
        newest: Outgoing | None = None
        from_time, place = int(since.timestamp() * 1000), 0
        for _ in range(_SAMPLE_READS):
            try:
                page = await self._log.read(from_offset=place, from_time=from_time, limit=_SAMPLE_PAGE)
            except LogCorrupt as damage:
                place = damage.resume_offset
                continue
            newest = await self._store.scan(partial(self._newest_of, compose, export, page.messages)) or newest
            place = page.next_offset
            if page.at_end:
                break
        return newest

    def _events(self, tables: ExportTables, export: DataExport, last: int) -> Sequence[Any]:
        found = tables.exports.events(self._hub, max(0, last - _SAMPLE_PAGE), _SAMPLE_PAGE)
        return list(self._selecting.of_events([each for each in found if each[1].source == export.source]))

    def _newest_of(
        self,
        compose: Callable[[Sequence[Any], ExportTables], Outgoing | None],
        export: DataExport,
        messages: Sequence[StoredMessage],
        tables: ExportTables,
    ) -> Outgoing | None:
        events = self._selecting.of_messages(messages)
        return compose([each for each in events if each.body["messageSource"] == export.source], tables)

    def _newest(
        self,
        export: DataExport,
        use: DestinationUse,
        destination: Destination,
        events: Sequence[Any],
        tables: ExportTables,
    ) -> Outgoing | None:
        for event in reversed(events):
            composed = self._selecting.compose(export, use, destination, [event], tables)
            if composed.refused:
                raise composed.refused[0]
            if composed.outgoing:
                return composed.outgoing[0]
        return None

    # ------------------------------------------------------------------------------------------------------------------

    def _seen(self, tables: ExportTables, actor: Actor, export_id: str) -> DataExport:
        found = tables.exports.find(self._hub, ExportId(export_id))
        if found is None or not actor.sees(found.organization):
            raise NotFound("export.unknown", f"there is no data export {export_id[:80]!r}")
        return found

    def _seen_destination(self, tables: ExportTables, actor: Actor, destination_id: str) -> Destination:
        found = tables.exports.find_destination(self._hub, DestinationId(destination_id))
        if found is None or not actor.sees(found.organization):
            raise NotFound("export.destination_unknown", f"there is no destination {destination_id[:80]!r}")
        return found

    def _tell(self, event: str, actor: Actor, export: DataExport, **more: str) -> None:
        _audit(event, {"hub": self._hub, "export": export.export_id, "name": export.display_name, **more}, actor)

    def _tell_destination(self, event: str, actor: Actor, destination: Destination) -> None:
        facts = {
            "hub": self._hub,
            "destination": destination.destination_id,
            "name": destination.display_name,
            "to": destination.kind,
        }
        _audit(event, facts, actor)


def _audit(event: str, facts: dict[str, str], actor: Actor) -> None:
    told = {**facts, "by": actor.name}
    audit.info(
        "%s %s",
        event,
        " ".join(f"{name}={value!r}" for name, value in told.items()),
        extra={"event": event, "facts": told},
    )


def _check_sees(actor: Actor, organization: OrganizationId) -> None:
    if not actor.sees(organization):
        raise Forbidden("organization.not_seen", f"you do not see the organization {organization[:60]!r}")


def _check_audit(actor: Actor, export: DataExport) -> None:
    if export.source == "audit" and not actor.may("audit.view"):
        raise Forbidden("export.audit", f"{actor.name} may not see the audit log, and so may not export it")
