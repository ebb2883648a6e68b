"""Device templates: a model and what people made of it (central.md 7), and the port to where they are kept.

A template has a `draft`, a `published` content, or both: what is published is what devices have; what is edited is a
draft until somebody publishes it (DT-10, DT-11). Its own id is not the id of the model inside (DT-8): by the latter a
device says what it is (TPL-2).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Protocol

from moorage.dtdl.members import parse_dtmi
from moorage.dtdl.model import Dtmi, Interface, Property
from moorage.dtdl.parser import parse_interface
from moorage.dtdl.problems import InvalidModel, shown
from moorage.errors import Invalid
from moorage.events import Outbox
from moorage.fleet.model import DeviceTable, TemplateId
from moorage.fleet.views import View, generated_views
from moorage.ids import ETag, HubId

__all__ = [
    "MAX_DOCUMENT_CHARS",
    "MAX_TEMPLATES",
    "Content",
    "ModelSource",
    "Template",
    "TemplateSummary",
    "TemplateTable",
    "TemplateTables",
    "make_content",
    "parse_template_id",
]

# central.md LIM-9
MAX_TEMPLATES: Final = 1000
MAX_DOCUMENT_CHARS: Final = 512 * 1024
MAX_NAME_CHARS: Final = 148
MAX_DESCRIPTION_CHARS: Final = 2000
MAX_ID_CHARS: Final = 256

_SEGMENT: Final = r"[A-Za-z](?:[A-Za-z0-9_]*[A-Za-z0-9])?"
_TEMPLATE_ID: Final = re.compile(rf"dtmi:{_SEGMENT}(?::{_SEGMENT})*;[1-9][0-9]{{0,8}}")


def parse_template_id(text: str) -> TemplateId:
    """A DTDL identifier (central.md ID-11). Raises `Invalid` (`template.template_id`)."""
    if not _TEMPLATE_ID.fullmatch(text) or len(text) > MAX_ID_CHARS:
        raise Invalid(
            "template.template_id",
            f"{shown(text)} is no id of a template: that is like dtmi:contoso:pump;1, up to {MAX_ID_CHARS} characters",
        )
    return TemplateId(text)


@dataclass(frozen=True, slots=True)
class Content:
    """What there is to edit. `text` is the interface as JSON that stands alone; `own_views` those that people made.

    Make it with `make_content`, which checks it.
    """

    display_name: str
    description: str
    text: str
    own_views: tuple[View, ...] = ()

    def read(self) -> None:
        """Parse it now, so that `document` and `interface` take no time afterwards."""
        _parsed(self.text)

    @property
    def document(self) -> Mapping[str, Any]:
        """The interface as JSON. It is shared: copy it before you change it."""
        return _parsed(self.text)[0]

    @property
    def interface(self) -> Interface:
        return _parsed(self.text)[1]

    @property
    def cloud_properties(self) -> tuple[Property, ...]:
        return self.interface.cloud_properties

    @property
    def views(self) -> tuple[View, ...]:
        """Those generated, then those that people made."""
        return (*generated_views(self.interface), *self.own_views)


@dataclass(frozen=True, slots=True)
class Template:
    """`version` counts its changes. At least one of `published` and `draft` is there."""

    hub: HubId
    template_id: TemplateId
    published: Content | None
    draft: Content | None
    created: datetime
    updated: datetime
    version: int = 1

    @property
    def is_published(self) -> bool:
        return self.published is not None

    @property
    def content(self) -> Content:
        """What devices have; while nothing is published, the draft."""
        content = self.published or self.draft
        assert content is not None  # the service deletes a template rather than leave it empty
        return content

    @property
    def latest(self) -> Content:
        """What is being edited, else what is published."""
        content = self.draft or self.published
        assert content is not None
        return content

    @property
    def display_name(self) -> str:
        return self.content.display_name

    @property
    def description(self) -> str:
        return self.content.description

    @property
    def document(self) -> Mapping[str, Any]:
        return self.content.document

    @property
    def interface(self) -> Interface:
        return self.content.interface

    @property
    def model_id(self) -> Dtmi:
        return self.interface.id

    @property
    def cloud_properties(self) -> tuple[Property, ...]:
        return self.content.cloud_properties

    @property
    def views(self) -> tuple[View, ...]:
        return self.content.views

    @property
    def etag(self) -> ETag:
        # With the time of creation, so that what is deleted and made again never has an etag of its forerunner.
        return ETag(f"{int(self.created.timestamp() * 1_000_000):014x}-{self.version:08x}")


@dataclass(frozen=True, slots=True)
class TemplateSummary:
    """A template as lists show it, without its model."""

    template_id: TemplateId
    display_name: str
    model_id: str
    is_published: bool
    has_draft: bool
    updated: datetime


class ModelSource(Protocol):
    """Models that lie ready: those that come along and those in the model folder (central.md TPL-3)."""

    def find(self, model_id: str) -> Any:
        """The document of the interface of this id, as JSON; None when there is none that can be read."""

    def all(self) -> list[str]:
        """Their ids, in order."""


class TemplateTable(Protocol):
    """Templates, keyed by (hub, template id)."""

    def find(self, hub: HubId, template_id: TemplateId) -> Template | None: ...

    def version_of(self, hub: HubId, template_id: TemplateId) -> int | None:
        """Its version alone: a point read that is asked for often."""

    def put(self, template: Template) -> None: ...

    def delete(self, hub: HubId, template_id: TemplateId) -> None: ...

    def summaries(self, hub: HubId) -> list[TemplateSummary]:
        """In the order of their names."""

    def count(self, hub: HubId) -> int: ...

    def published_for(self, hub: HubId, model_id: str) -> TemplateId | None:
        """The published template with a root interface of this id; of several, the one made last."""


class TemplateTables(Protocol):
    """What templates need of a store."""

    @property
    def templates(self) -> TemplateTable: ...

    @property
    def devices(self) -> DeviceTable: ...

    @property
    def outbox(self) -> Outbox: ...


def make_content(
    display_name: str, description: str, document: Mapping[str, Any], own_views: tuple[View, ...] = ()
) -> Content:
    """Of an interface that stands alone. Raises `Invalid` (`template.*`); whoever has views checks them."""
    name = display_name.strip()
    if not name or len(name) > MAX_NAME_CHARS or any(ord(character) < 32 for character in name):
        raise Invalid(
            "template.display_name", f"a template needs a name of 1 to {MAX_NAME_CHARS} characters on one line"
        )
    if len(description) > MAX_DESCRIPTION_CHARS:
        raise Invalid("template.description", f"a description has at most {MAX_DESCRIPTION_CHARS} characters")
    text = json.dumps(document, separators=(",", ":"))
    if len(text) > MAX_DOCUMENT_CHARS:
        raise InvalidModel(
            "template.limit", "$", f"the model has {len(text)} characters, the most is {MAX_DOCUMENT_CHARS}"
        )
    content = Content(name, description.strip(), text, own_views)
    parse_dtmi(content.interface.id)
    return content


# The largest models take some megabytes each.
@lru_cache(maxsize=64)
def _parsed(text: str) -> tuple[Mapping[str, Any], Interface]:
    document = json.loads(text)
    return document, parse_interface(document)
