"""What an application is called and how it looks (contract/central.md NAV-16, 20)."""

from __future__ import annotations

from typing import Final

from moorage.accounts.customization import MAX_LINKS
from moorage.api.schemas.words import Content, Schema, list_of, members, named, nullable, text, whole

__all__ = ["CUSTOMIZATION", "CUSTOMIZATION_CHANGE", "PNG", "SETTINGS", "SETTINGS_CHANGE"]

SETTINGS_CHANGE: Final = members({}, {"displayName": nullable(text("Null is moorage.", most=60))})
SETTINGS: Final = named(
    "Settings",
    members(
        {
            "id": text("Of the application."),
            "displayName": nullable(text("Null is moorage.")),
            "idScope": text(),
            "hostnames": list_of(text()),
            "webUrl": nullable(text("Where its pages are.")),
            "serviceUrl": text("Where its REST is."),
            "mqttPort": whole(),
            "amqpPort": whole(),
        }
    ),
)
_LOOK: Final[dict[str, Schema]] = {
    "headerColor": nullable(text("`#rrggbb`; null is our own.")),
    "accentColor": nullable(text("`#rrggbb`; null is our own.")),
    "helpLinks": list_of(members({"label": text(), "url": text()}), most=MAX_LINKS),
}
CUSTOMIZATION: Final = named(
    "Customization",
    members(
        {
            **_LOOK,
            "logo": nullable(text("Changes with the picture.")),
            "icon": nullable(text("Changes with the picture.")),
            "etag": text(),
        }
    ),
)
CUSTOMIZATION_CHANGE: Final = named("CustomizationChange", members({}, {**_LOOK, "etag": text()}))
PNG: Final = Content("image/png", {"type": "string", "format": "binary"})
