"""Device templates as they are edited: drafts and views, which the Central API has none of (contract/central.md 7)."""

from __future__ import annotations

from typing import Final

from moorage.api.schemas.words import FLAG, OBJECT, TIME, Schema, flag, list_of, members, named, one_of, text
from moorage.dialects.views_json import TILE_KINDS
from moorage.fleet.views import MAX_SUBJECTS, MAX_TILES

__all__ = ["DRAFT", "TEMPLATE", "TEMPLATE_SUMMARY", "VIEW", "VIEWS", "VIEW_DRAFT"]

_ETAG: Final[dict[str, Schema]] = {"etag": text("The template's.")}
_CONTENT: Final[dict[str, Schema]] = {"displayName": text(), "capabilityModel": OBJECT}
DRAFT: Final = named("TemplateDraft", members(_CONTENT, {"description": text(), **_ETAG}))
TEMPLATE: Final = named(
    "DeviceTemplate",
    members(
        {
            "@id": text("A DTDL identifier."),
            **_CONTENT,
            "published": flag("Whether devices can have it."),
            "draft": flag("Whether this is being edited, and not what devices have."),
            **_ETAG,
        },
        {"description": text()},
    ),
)
TEMPLATE_SUMMARY: Final = named(
    "DeviceTemplateSummary",
    members(
        {
            "@id": text(),
            "displayName": text(),
            "modelId": text("Of the interface inside."),
            "published": FLAG,
            "draft": FLAG,
            "updated": TIME,
        }
    ),
)
_TILE: Final = members(
    {"kind": one_of(*TILE_KINDS)},
    {
        "title": text(most=100),
        "capabilities": list_of(members({"name": text()}, {"component": text()}), most=MAX_SUBJECTS),
        "text": text("Of a text."),
    },
)
VIEW_DRAFT: Final = named(
    "ViewDraft",
    members(
        {"displayName": text(most=100)},
        {"kind": one_of("custom", "form"), "tiles": list_of(_TILE, "In their order.", most=MAX_TILES), **_ETAG},
    ),
)
VIEW: Final = named(
    "View",
    members(
        {
            "id": text(),
            "displayName": text(),
            "kind": one_of("overview", "about", "commands", "custom", "form"),
            "generated": flag("Whether it follows from the model, and cannot be changed."),
            "tiles": list_of(_TILE),
            **_ETAG,
        }
    ),
)
VIEWS: Final = members({"value": list_of(VIEW)})
