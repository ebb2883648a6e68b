"""What people do to device templates (central.md 7.2), and how a device finds its own (6.2).

    create ──► draft ──publish──► published ──edit──► published, with a draft ──publish──► published
                                      └──version──► a draft of a new template, whose ids are one higher

Publishing what devices would not fit any more is refused while devices use the template: that is what versions are for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from moorage.accounts.model import Actor
from moorage.clock import Clock
from moorage.dtdl.documents import find_root, inline_references
from moorage.dtdl.model import Interface
from moorage.dtdl.parser import parse_interface
from moorage.errors import Conflict, NotFound, PreconditionFailed, Refusal, TooLarge
from moorage.events import Event
from moorage.fleet.model import UNASSIGNED, TemplateId
from moorage.fleet.template_changes import ModelChange, compare
from moorage.fleet.template_model import (
    MAX_TEMPLATES,
    Content,
    ModelSource,
    Template,
    TemplateSummary,
    TemplateTables,
    make_content,
    parse_template_id,
)
from moorage.fleet.views import check_views, still_fitting
from moorage.ids import ETag, HubId
from moorage.store import Store

__all__ = ["Imported", "TemplateService", "published_for_model", "read_model", "template_for_model"]

audit = logging.getLogger("moorage.audit")
log = logging.getLogger("moorage.fleet")

# Whose work it is when a device announces a model that lies ready (TPL-3).
_HUB_ITSELF: Final = "moorage"
_MAX_INTERFACES_REMEMBERED: Final = 256
_SHOWN_CHANGES: Final = 5


@dataclass(frozen=True, slots=True)
class Imported:
    """A model out of a document. `fetched` are the interfaces that it only named, and which were found elsewhere."""

    document: dict[str, Any]
    interface: Interface
    fetched: tuple[str, ...]


def read_model(document: Any, models: ModelSource, *, root: str = "") -> Imported:
    """The model in `document`, standing alone. Raises `InvalidModel` (`template.*`)."""
    fetched: list[str] = []

    def find(name: str) -> Any:
        found = models.find(name)
        if found is not None:
            fetched.append(name)
        return found

    interface = parse_interface(document, find, root=root)
    found, _ = find_root(document, root)
    alone = inline_references(document, find, root=str(found.get("@id")))
    return Imported(alone, interface, tuple(dict.fromkeys(fetched)))


def published_for_model(tables: TemplateTables, hub: HubId, model_id: str) -> TemplateId:
    """The published template for devices that announce `model_id` (TPL-2); `UNASSIGNED` when there is none."""
    return tables.templates.published_for(hub, model_id) or UNASSIGNED


def template_for_model(
    tables: TemplateTables, hub: HubId, model_id: str, models: ModelSource, now: datetime
) -> TemplateId:
    """As `published_for_model`; a model that lies ready becomes a published template first (TPL-3).

    For use inside of a transaction. A model that cannot be used is as good as none: the log says why.
    """
    template_id = published_for_model(tables, hub, model_id)
    if template_id or (document := models.find(model_id)) is None:
        return template_id
    try:
        model = read_model(document, models, root=model_id)
        content = make_content(model.interface.label, model.interface.description, model.document)
        template = _new(tables, hub, _id_for_model(tables, hub, model_id), content, None, now)
    except Refusal as refusal:
        log.warning("model_unusable model=%s reason=%s %s", model_id, refusal.reason, refusal.message)
        return UNASSIGNED
    _tell("template.published", _HUB_ITSELF, template)
    return template.template_id


class TemplateService:
    """Of one hub. What writes takes the actor for the audit log; who may, the pages and calls have asked before."""

    def __init__(self, hub: HubId, store: Store[TemplateTables], clock: Clock, models: ModelSource) -> None:
        self._hub = hub
        self._store = store
        self._clock = clock
        self.models = models
        self._interfaces: dict[TemplateId, tuple[int, Interface | None]] = {}

    def get(self, template_id: TemplateId) -> Template:
        """Raises `NotFound` (`template.unknown`)."""
        return _get(self._store.read(), self._hub, template_id)

    async def load(self, template_id: TemplateId) -> Template:
        """As `get`, with its model read in a thread: a large one takes longer than a page may hold the loop (S8)."""

        def work(tables: TemplateTables) -> Template:
            template = _get(tables, self._hub, template_id)
            for content in (template.draft, template.published):
                if content is not None:
                    content.read()
            return template

        return await self._store.scan(work)

    def find(self, template_id: TemplateId) -> Template | None:
        return self._store.read().templates.find(self._hub, template_id)

    async def list(self) -> list[TemplateSummary]:
        """In the order of their names."""
        return await self._store.scan(lambda tables: tables.templates.summaries(self._hub))

    async def device_counts(self, actor: Actor) -> dict[TemplateId, int]:
        """How many devices that `actor` sees have which template."""

        def work(tables: TemplateTables) -> dict[TemplateId, int]:
            counts: dict[TemplateId, int] = {}
            for tally in tables.devices.tallies(self._hub):
                if not actor.sees(tally.organization):
                    continue
                counts[tally.template] = counts.get(tally.template, 0) + tally.devices
            return counts

        return await self._store.scan(work)

    def interface_of(self, template_id: TemplateId) -> Interface | None:
        """The published model of a template; None when there is none. Fit to be asked for each message."""
        tables = self._store.read()
        version = tables.templates.version_of(self._hub, template_id)
        if version is None:
            return None
        known = self._interfaces.get(template_id)
        if known is not None and known[0] == version:
            return known[1]
        template = tables.templates.find(self._hub, template_id)
        interface = template.published.interface if template and template.published else None
        if len(self._interfaces) >= _MAX_INTERFACES_REMEMBERED:
            self._interfaces.clear()
        self._interfaces[template_id] = (version, interface)
        return interface

    def published_for_model(self, model_id: str) -> TemplateId:
        """TPL-2, of what is committed."""
        return published_for_model(self._store.read(), self._hub, model_id)

    def is_published(self, tables: TemplateTables, template_id: TemplateId) -> bool:
        template = tables.templates.find(self._hub, template_id)
        return template is not None and template.is_published

    def for_model(self, tables: TemplateTables, model_id: str) -> TemplateId:
        """Of a device that announces a model, inside a transaction (TPL-2, TPL-3)."""
        return template_for_model(tables, self._hub, model_id, self.models, self._clock.now())

    def published(self, tables: TemplateTables) -> Sequence[tuple[TemplateId, str]]:
        """(id, name) of those that devices can have, by name."""
        summaries = tables.templates.summaries(self._hub)
        return [(each.template_id, each.display_name) for each in summaries if each.is_published]

    def read_model(self, document: Any, *, root: str = "") -> Imported:
        """Raises `InvalidModel` (`template.*`)."""
        return read_model(document, self.models, root=root)

    async def create_draft(self, actor: Actor, content: Content, template_id: TemplateId = UNASSIGNED) -> Template:
        """A new template that nobody but its makers sees. Without an id it gets one after its model, and asked for twice
        is made once.

        Raises:
            Conflict: `template.exists`.
            TooLarge: `template.number`.
        """

        def work(tables: TemplateTables) -> tuple[Template, bool]:
            if not template_id and (same := _same_draft(tables, self._hub, content)) is not None:
                return same, False
            new_id = template_id or _id_for_model(tables, self._hub, content.interface.id)
            return _new(tables, self._hub, new_id, None, content, self._clock.now()), True

        template, is_new = await self._store.write(work)
        if is_new:
            _tell("template.created", actor.name, template)
        return template

    async def put_draft(
        self, actor: Actor, template_id: TemplateId, content: Content, if_match: str | None = None
    ) -> Template:
        """Save what is being edited (DT-10). A draft like what is published is none.

        Raises `NotFound` (`template.unknown`), `PreconditionFailed` (`etag.stale`), `Invalid` (`view.*`).
        """
        check_views(content.own_views, content.interface)

        def change(_: TemplateTables, template: Template) -> Template:
            return replace(template, draft=None if content == template.published else content)

        return await self._change(actor, "template.saved", template_id, if_match, change)

    async def discard_draft(self, actor: Actor, template_id: TemplateId, if_match: str | None = None) -> Template:
        """Back to what is published.

        Raises `NotFound`, `PreconditionFailed`, `Conflict` (`template.not_published`).
        """

        def change(_: TemplateTables, template: Template) -> Template:
            if template.published is None:
                raise Conflict(
                    "template.not_published", f"{template_id} was never published: its draft is all there is; delete it"
                )
            return replace(template, draft=None)

        return await self._change(actor, "template.draft_discarded", template_id, if_match, change)

    def changes(self, template: Template) -> Sequence[ModelChange]:
        """What publishing the draft would change for devices."""
        if template.draft is None or template.published is None:
            return ()
        return compare(template.published.interface, template.draft.interface)

    async def publish(self, actor: Actor, template_id: TemplateId, if_match: str | None = None) -> Template:
        """Give devices what the draft says (DT-11).

        Raises:
            NotFound: `template.unknown`.
            PreconditionFailed: `etag.stale`.
            Conflict: `template.breaking`, devices have the template that would not fit any more.
        """

        def change(tables: TemplateTables, template: Template) -> Template:
            if template.draft is None:
                return template
            _check_fits(tables, template, template.draft)
            return replace(template, published=template.draft, draft=None)

        return await self._change(actor, "template.published", template_id, if_match, change)

    async def put_published(
        self,
        actor: Actor,
        template_id: TemplateId,
        content: Content,
        if_match: str | None = None,
        *,
        cosmetic_only: bool = False,
    ) -> Template:
        """Create or replace, published at once (DT-16); the views that people made stay as far as they still fit.

        Raises:
            Conflict: `template.breaking`; with `cosmetic_only` (DT-17), `template.not_cosmetic` for any change of the
                model but cloud properties and how things are shown.
            NotFound: `template.unknown`, with `cosmetic_only`.
            PreconditionFailed: `etag.stale`.
            TooLarge: `template.number`.
        """

        def work(tables: TemplateTables) -> Template:
            now = self._clock.now()
            present = tables.templates.find(self._hub, template_id)
            if present is None:
                if cosmetic_only or if_match is not None:
                    raise _unknown(template_id)
                return _new(tables, self._hub, template_id, content, None, now)
            _check_current(present, if_match)
            if cosmetic_only:
                _check_cosmetic(present, content)
            _check_fits(tables, present, content)
            fitting = replace(content, own_views=still_fitting(present.content.own_views, content.interface))
            return _put(tables, replace(present, published=fitting, draft=None), now)

        template = await self._store.write(work)
        _tell("template.published", actor.name, template)
        return template

    async def new_version(self, actor: Actor, template_id: TemplateId) -> Template:
        """A draft of a new template whose id and model id are the next that are free (DT-12); the one there is already,
        if nobody has edited it yet.

        Raises `NotFound` (`template.unknown`), `TooLarge` (`template.number`).
        """

        def work(tables: TemplateTables) -> tuple[Template, bool]:
            latest = _get(tables, self._hub, template_id).latest

            def versioned(number: int) -> Content:
                document = {**latest.document, "@id": _with_version(latest.interface.id, number)}
                return make_content(latest.display_name, latest.description, document, latest.own_views)

            number = _version_of(latest.interface.id) + 1
            while tables.templates.published_for(self._hub, _with_version(latest.interface.id, number)) is not None:
                number += 1
            content = versioned(number)
            new_id, before = _with_version(template_id, _version_of(template_id) + 1), None
            while (present := tables.templates.find(self._hub, TemplateId(new_id))) is not None:
                new_id, before = _with_version(new_id, _version_of(new_id) + 1), present
            if before is not None and before.published is None and before.draft == content:
                return before, False
            return _new(tables, self._hub, parse_template_id(new_id), None, content, self._clock.now()), True

        made, is_new = await self._store.write(work)
        if is_new:
            _tell("template.versioned", actor.name, made, of=template_id)
        return made

    async def delete(self, actor: Actor, template_id: TemplateId, if_match: str | None = None) -> None:
        """Raises `NotFound`, `PreconditionFailed`, `Conflict` (`template.used`): devices have it (DT-14)."""

        def work(tables: TemplateTables) -> Template:
            template = _get(tables, self._hub, template_id)
            _check_current(template, if_match)
            if used := _devices_of(tables, self._hub, template_id):
                raise Conflict(
                    "template.used",
                    f"{_counted(used)} {template_id}; give them another template, or delete them, and then delete it",
                )
            tables.templates.delete(self._hub, template_id)
            tables.outbox.emit(Event("template.changed", self._hub, template_id))
            return template

        template = await self._store.write(work)
        self._interfaces.pop(template_id, None)
        _tell("template.deleted", actor.name, template)

    async def _change(
        self,
        actor: Actor,
        event: str,
        template_id: TemplateId,
        if_match: str | None,
        change: Callable[[TemplateTables, Template], Template],
    ) -> Template:
        """One change of a template that is there; a change that changes nothing writes nothing."""

        def work(tables: TemplateTables) -> tuple[Template, Template]:
            present = _get(tables, self._hub, template_id)
            _check_current(present, if_match)
            changed = change(tables, present)
            return present, present if changed == present else _put(tables, changed, self._clock.now())

        before, after = await self._store.write(work)
        if after is not before:
            _tell(event, actor.name, after)
        return after


def _get(tables: TemplateTables, hub: HubId, template_id: TemplateId) -> Template:
    template = tables.templates.find(hub, template_id)
    if template is None:
        raise _unknown(template_id)
    return template


def _unknown(template_id: TemplateId) -> NotFound:
    return NotFound("template.unknown", f"there is no device template {template_id[:140]!r}")


def _new(
    tables: TemplateTables,
    hub: HubId,
    template_id: TemplateId,
    published: Content | None,
    draft: Content | None,
    now: datetime,
) -> Template:
    if tables.templates.find(hub, template_id) is not None:
        raise Conflict(
            "template.exists",
            f"there is a device template {template_id} already; edit that one, or give the new one another @id",
        )
    if tables.templates.count(hub) >= MAX_TEMPLATES:
        raise TooLarge("template.number", f"an application has at most {MAX_TEMPLATES} device templates")
    template = Template(hub, template_id, published, draft, created=now, updated=now)
    return _put(tables, template, now, version=1)


def _put(tables: TemplateTables, template: Template, now: datetime, version: int | None = None) -> Template:
    stored = replace(template, version=version or template.version + 1, updated=now)
    tables.templates.put(stored)
    tables.outbox.emit(Event("template.changed", template.hub, template.template_id))
    return stored


def _check_current(template: Template, if_match: str | None) -> None:
    if if_match is not None and ETag(if_match) != template.etag:
        raise PreconditionFailed(
            "etag.stale",
            f"the device template {template.template_id} changed since you read it (you hold {if_match[:60]!r}, it is "
            f"at '{template.etag}'); read it again",
        )


def _check_fits(tables: TemplateTables, template: Template, content: Content) -> None:
    if template.published is None:
        return
    broken = [each for each in compare(template.published.interface, content.interface) if each.is_breaking]
    if broken and (used := _devices_of(tables, template.hub, template.template_id)):
        raise Conflict(
            "template.breaking",
            f"{_counted(used)} {template.template_id}, and would not fit any more: {_told(broken)}. Make a new version "
            "of the template, and migrate devices to it",
        )


def _check_cosmetic(present: Template, content: Content) -> None:
    changes = compare(present.content.interface, content.interface)
    # How something is shown is a change that breaks nothing; what is there and what it is, is not up to this call.
    real = [each for each in changes if each.what != "cloud property" and (each.kind != "changed" or each.is_breaking)]
    if real:
        raise Conflict(
            "template.not_cosmetic",
            f"this changes the model of {present.template_id} itself: {_told(real)}. PUT replaces the template",
        )


def _told(changes: Sequence[ModelChange]) -> str:
    told = [
        f"{each.what} {each.spelled} {'is removed' if each.kind == 'removed' else each.sentence}"
        for each in changes[:_SHOWN_CHANGES]
    ]
    more = len(changes) - len(told)
    return "; ".join(told) + (f"; and {more} more" if more else "")


def _counted(devices: int) -> str:
    return "one device uses" if devices == 1 else f"{devices} devices use"


def _devices_of(tables: TemplateTables, hub: HubId, template_id: TemplateId) -> int:
    return sum(tally.devices for tally in tables.devices.tallies(hub) if tally.template == template_id)


def _ids_for_model(model_id: str) -> Iterator[TemplateId]:
    """`dtmi:modelDefinition:com:example:Thermostat;1`, then with a number behind the name."""
    path, _, version = model_id.removeprefix("dtmi:").partition(";")
    for number in range(1, MAX_TEMPLATES + 2):
        yield TemplateId(f"dtmi:modelDefinition:{path}{number if number > 1 else ''};{version}")


def _id_for_model(tables: TemplateTables, hub: HubId, model_id: str) -> TemplateId:
    for free in _ids_for_model(model_id):
        if tables.templates.version_of(hub, free) is None:
            return free
    raise TooLarge("template.number", f"an application has at most {MAX_TEMPLATES} device templates")


def _same_draft(tables: TemplateTables, hub: HubId, content: Content) -> Template | None:
    """One that was made of the same content, and was neither edited nor published since."""
    for name in _ids_for_model(content.interface.id):
        template = tables.templates.find(hub, name)
        if template is None or (template.published is None and template.draft == content):
            return template
    return None


def _version_of(name: str) -> int:
    return int(name.rpartition(";")[2])


def _with_version(name: str, number: int) -> str:
    return f"{name.rpartition(';')[0]};{number}"


def _tell(event: str, actor: str, template: Template, **more: str) -> None:
    facts = {
        "hub": template.hub,
        "template": template.template_id,
        "name": template.latest.display_name,
        "model": template.latest.interface.id,
        **more,
        "by": actor,
    }
    line = " ".join(f"{name}=%s" for name in facts)
    audit.info(f"{event} {line}", *facts.values(), extra={"event": event, "facts": facts})
