"""Steps of the life of a template, each inside a transaction, and how a device's model finds its template.

`fleet/templates.py` puts them together; provisioning asks for a template while it lets a device in.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from moorage.dtdl.documents import find_root, inline_references
from moorage.dtdl.model import Interface
from moorage.dtdl.parser import parse_interface
from moorage.errors import Conflict, NotFound, Refusal, TooLarge
from moorage.events import Event
from moorage.fleet.model import UNASSIGNED, TemplateId
from moorage.fleet.template_changes import ModelChange, compare
from moorage.fleet.template_model import MAX_TEMPLATES, Content, ModelSource, Template, TemplateTables, make_content
from moorage.ids import HubId, check_etag

__all__ = [
    "Imported",
    "check_cosmetic",
    "check_current",
    "check_fits",
    "check_unused",
    "emit_change",
    "free_id",
    "get_template",
    "new_template",
    "published_for_model",
    "put_template",
    "read_model",
    "same_draft",
    "tell",
    "template_for_model",
    "unknown_template",
]

audit = logging.getLogger("moorage.audit")
log = logging.getLogger("moorage.fleet")

# Whose work it is when a device announces a model that lies ready (TPL-3).
_HUB_ITSELF: Final = "moorage"
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
        template = new_template(tables, hub, free_id(tables, hub, model_id), content, None, now)
    except Refusal as refusal:
        log.warning("model_unusable model=%s reason=%s %s", model_id, refusal.reason, refusal.message)
        return UNASSIGNED
    tell("template.published", _HUB_ITSELF, template)
    return template.template_id


def get_template(tables: TemplateTables, hub: HubId, template_id: TemplateId) -> Template:
    """Raises `NotFound` (`template.unknown`)."""
    template = tables.templates.find(hub, template_id)
    if template is None:
        raise unknown_template(template_id)
    return template


def unknown_template(template_id: TemplateId) -> NotFound:
    return NotFound("template.unknown", f"there is no device template {template_id[:140]!r}")


def new_template(
    tables: TemplateTables,
    hub: HubId,
    template_id: TemplateId,
    published: Content | None,
    draft: Content | None,
    now: datetime,
) -> Template:
    """Raises `Conflict` (`template.exists`), `TooLarge` (`template.number`)."""
    if tables.templates.find(hub, template_id) is not None:
        raise Conflict(
            "template.exists",
            f"there is a device template {template_id} already; edit that one, or give the new one another @id",
        )
    if tables.templates.count(hub) >= MAX_TEMPLATES:
        raise TooLarge("template.number", f"an application has at most {MAX_TEMPLATES} device templates")
    template = Template(hub, template_id, published, draft, created=now, updated=now)
    return put_template(tables, template, now, version=1)


def put_template(tables: TemplateTables, template: Template, now: datetime, version: int | None = None) -> Template:
    """As it is stored: one version on."""
    stored = replace(template, version=version or template.version + 1, updated=now)
    present = tables.templates.find(template.hub, template.template_id)
    tables.templates.put(stored)
    emit_change(tables, stored, None if present is None else present.published, stored.published)
    return stored


def emit_change(tables: TemplateTables, template: Template, before: Content | None, after: Content | None) -> None:
    """Tell what becomes of the template, and of what is published of it."""
    data: dict[str, str] = {}
    if (content := after or before) is not None and after != before:
        life = "created" if before is None else "updated" if after is not None else "deleted"
        data = {"published": life, "model": content.interface.id}
    tables.outbox.emit(Event("template.changed", template.hub, template.template_id, data))


def check_current(template: Template, if_match: str | None) -> None:
    """Raises `PreconditionFailed` (`etag.stale`)."""
    check_etag(f"the device template {template.template_id}", if_match, template.etag)


def check_fits(tables: TemplateTables, template: Template, content: Content) -> None:
    """Whether devices would still fit. Raises `Conflict` (`template.breaking`)."""
    if template.published is None:
        return
    broken = [each for each in compare(template.published.interface, content.interface) if each.is_breaking]
    if broken and (used := _devices_of(tables, template.hub, template.template_id)):
        raise Conflict(
            "template.breaking",
            f"{_counted(used)} {template.template_id}, and would not fit any more: {_told(broken)}. Make a new version "
            "of the template, and migrate devices to it",
        )


def check_unused(tables: TemplateTables, template: Template) -> None:
    """Raises `Conflict` (`template.used`)."""
    if used := _devices_of(tables, template.hub, template.template_id):
        raise Conflict(
            "template.used",
            f"{_counted(used)} {template.template_id}; give them another template, or delete them, and then delete it",
        )


def check_cosmetic(present: Template, content: Content) -> None:
    """DT-17. Raises `Conflict` (`template.not_cosmetic`)."""
    changes = compare(present.content.interface, content.interface)
    # How something is shown is a change that breaks nothing; what is there and what it is, is not up to this call.
    real = [each for each in changes if each.is_breaking or (each.kind != "changed" and each.what != "cloud property")]
    if real:
        raise Conflict(
            "template.not_cosmetic",
            f"this changes the model of {present.template_id} itself: {_told(real)}. PUT replaces the template",
        )


def _devices_of(tables: TemplateTables, hub: HubId, template_id: TemplateId) -> int:
    return sum(tally.devices for tally in tables.devices.tallies(hub) if tally.template == template_id)


def _told(changes: Sequence[ModelChange]) -> str:
    told = [
        f"{each.what} {each.spelled} {'is removed' if each.kind == 'removed' else each.sentence}"
        for each in changes[:_SHOWN_CHANGES]
    ]
    more = len(changes) - len(told)
    return "; ".join(told) + (f"; and {more} more" if more else "")


def _counted(devices: int) -> str:
    return "one device uses" if devices == 1 else f"{devices} devices use"


def _ids_for_model(model_id: str) -> Iterator[TemplateId]:
    """`dtmi:modelDefinition:com:example:Thermostat;1`, then with a number behind the name."""
    path, _, version = model_id.removeprefix("dtmi:").partition(";")
    for number in range(1, MAX_TEMPLATES + 2):
        yield TemplateId(f"dtmi:modelDefinition:{path}{number if number > 1 else ''};{version}")


def free_id(tables: TemplateTables, hub: HubId, model_id: str) -> TemplateId:
    """For a template of that model. Raises `TooLarge` (`template.number`)."""
    for free in _ids_for_model(model_id):
        if tables.templates.version_of(hub, free) is None:
            return free
    raise TooLarge("template.number", f"an application has at most {MAX_TEMPLATES} device templates")


def same_draft(tables: TemplateTables, hub: HubId, content: Content) -> Template | None:
    """One that was made of the same content, and was neither edited nor published since."""
    for name in _ids_for_model(content.interface.id):
        template = tables.templates.find(hub, name)
        if template is None or (template.published is None and template.draft == content):
            return template
    return None


def tell(event: str, actor: str, template: Template, **more: str) -> None:
    """A line for the audit log."""
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
