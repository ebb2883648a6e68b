"""What people do to device templates (central.md 7.2), and how a device finds its own (6.2).

    create ──► draft ──publish──► published ──edit──► published, with a draft ──publish──► published
                                      └──version──► a draft of a new template, whose ids are one higher

Publishing what devices would not fit any more is refused while devices use the template: that is what versions are for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from moorage.accounts.model import Actor
from moorage.clock import Clock
from moorage.dtdl.model import Interface
from moorage.errors import Conflict
from moorage.fleet.limits import OURS, Limits, check_capabilities
from moorage.fleet.model import UNASSIGNED, TemplateId
from moorage.fleet.template_changes import ModelChange, compare
from moorage.fleet.template_model import (
    Content,
    ModelSource,
    Template,
    TemplateSummary,
    TemplateTables,
    make_content,
    parse_template_id,
)
from moorage.fleet.template_steps import (
    Imported,
    check_cosmetic,
    check_current,
    check_fits,
    check_unused,
    emit_change,
    free_id,
    get_template,
    new_template,
    published_for_model,
    put_template,
    read_model,
    same_draft,
    tell,
    template_for_model,
    unknown_template,
)
from moorage.fleet.views import check_views, still_fitting
from moorage.ids import HubId
from moorage.store import Store

__all__ = ["TemplateService"]

_MAX_INTERFACES_REMEMBERED: Final = 256


class TemplateService:
    """Of one hub. What writes takes the actor for the audit log; who may, the pages and calls have asked before."""

    def __init__(
        self, hub: HubId, store: Store[TemplateTables], clock: Clock, models: ModelSource, limits: Limits = OURS
    ) -> None:
        self._hub = hub
        self._store = store
        self._clock = clock
        self.models = models
        self._limits = limits
        self._interfaces: dict[TemplateId, tuple[int, Interface | None]] = {}

    def get(self, template_id: TemplateId) -> Template:
        """Raises `NotFound` (`template.unknown`)."""
        return get_template(self._store.read(), self._hub, template_id)

    async def load(self, template_id: TemplateId) -> Template:
        """As `get`, with its model read in a thread: a large one takes longer than a page may hold the loop (S8)."""

        def work(tables: TemplateTables) -> Template:
            template = get_template(tables, self._hub, template_id)
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
        """A new template that nobody but its makers sees. Without an id it gets one after its model, and is made once
        if it is asked for twice.

        Raises:
            Conflict: `template.exists`.
            TooLarge: `template.number`, `template.capabilities`.
        """
        check_capabilities(content.interface, self._limits)

        def work(tables: TemplateTables) -> tuple[Template, bool]:
            if not template_id and (same := same_draft(tables, self._hub, content)) is not None:
                return same, False
            new_id = template_id or free_id(tables, self._hub, content.interface.id)
            return new_template(tables, self._hub, new_id, None, content, self._clock.now()), True

        template, is_new = await self._store.write(work)
        if is_new:
            tell("template.created", actor.name, template)
        return template

    async def put_draft(
        self, actor: Actor, template_id: TemplateId, content: Content, if_match: str | None = None
    ) -> Template:
        """Save what is being edited (DT-10). A draft like what is published is none.

        Raises `NotFound` (`template.unknown`), `PreconditionFailed` (`etag.stale`), `Invalid` (`view.*`), `TooLarge`
        (`template.capabilities`).
        """
        check_capabilities(content.interface, self._limits)
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
            check_fits(tables, template, template.draft)
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
            TooLarge: `template.number`, `template.capabilities`.
        """
        check_capabilities(content.interface, self._limits)

        def work(tables: TemplateTables) -> Template:
            now = self._clock.now()
            present = tables.templates.find(self._hub, template_id)
            if present is None:
                if cosmetic_only or if_match is not None:
                    raise unknown_template(template_id)
                return new_template(tables, self._hub, template_id, content, None, now)
            check_current(present, if_match)
            if cosmetic_only:
                check_cosmetic(present, content)
            check_fits(tables, present, content)
            fitting = replace(content, own_views=still_fitting(present.content.own_views, content.interface))
            return put_template(tables, replace(present, published=fitting, draft=None), now)

        template = await self._store.write(work)
        tell("template.published", actor.name, template)
        return template

    async def new_version(self, actor: Actor, template_id: TemplateId) -> Template:
        """A draft of a new template whose id and model id are the next that are free (DT-12); the one there is already,
        if nobody has edited it yet.

        Raises `NotFound` (`template.unknown`), `TooLarge` (`template.number`).
        """

        def work(tables: TemplateTables) -> tuple[Template, bool]:
            latest = get_template(tables, self._hub, template_id).latest

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
            return new_template(tables, self._hub, parse_template_id(new_id), None, content, self._clock.now()), True

        made, is_new = await self._store.write(work)
        if is_new:
            tell("template.versioned", actor.name, made, of=template_id)
        return made

    async def delete(self, actor: Actor, template_id: TemplateId, if_match: str | None = None) -> None:
        """Raises `NotFound`, `PreconditionFailed`, `Conflict` (`template.used`): devices have it (DT-14)."""

        def work(tables: TemplateTables) -> Template:
            template = get_template(tables, self._hub, template_id)
            check_current(template, if_match)
            check_unused(tables, template)
            tables.templates.delete(self._hub, template_id)
            emit_change(tables, template, template.published, None)
            return template

        template = await self._store.write(work)
        self._interfaces.pop(template_id, None)
        tell("template.deleted", actor.name, template)

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
            present = get_template(tables, self._hub, template_id)
            check_current(present, if_match)
            changed = change(tables, present)
            return present, present if changed == present else put_template(tables, changed, self._clock.now())

        before, after = await self._store.write(work)
        if after is not before:
            tell(event, actor.name, after)
        return after


def _version_of(name: str) -> int:
    return int(name.rpartition(";")[2])


def _with_version(name: str, number: int) -> str:
    return f"{name.rpartition(';')[0]};{number}"
