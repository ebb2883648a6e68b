"""How an application looks, in the JSON of our own API (contract/central.md 20).

    {"headerColor": "#0f2d3d", "accentColor": null, "helpLinks": [{"label": "Help", "url": "https://example.com/"}]}

A colour that is null is our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from moorage.accounts.customization import Customization, HelpLink, parse_link
from moorage.dialects.members import check_members, get_objects, get_text, need_text

__all__ = ["CUSTOMIZATION_MEMBERS", "Look", "customization_json", "parse_look"]

CUSTOMIZATION_MEMBERS: Final = ("headerColor", "accentColor", "helpLinks", "etag")


class Look(NamedTuple):
    """What is chosen in one go; '' is our own colour."""

    header: str
    accent: str
    links: tuple[HelpLink, ...]


def parse_look(current: Customization, body: Mapping[str, Any]) -> Look:
    """`current` with what the body says. Raises `Invalid` (`body.member`, `customization.link`)."""
    header, accent = (
        (get_text(body, member) or "") if member in body else present
        for member, present in (("headerColor", current.header), ("accentColor", current.accent))
    )
    links = current.links
    if "helpLinks" in body:
        links = tuple(_link(path, each) for path, each in get_objects(body, "helpLinks"))
    return Look(header, accent, links)


def _link(path: str, body: Mapping[str, Any]) -> HelpLink:
    check_members(body, ("label", "url"), path)
    return parse_link(need_text(body, "label", f"{path}.label"), need_text(body, "url", f"{path}.url"))


def customization_json(current: Customization) -> dict[str, Any]:
    """Pictures are told by their digests, null where there is none."""
    return {
        "headerColor": current.header or None,
        "accentColor": current.accent or None,
        "helpLinks": [{"label": link.label, "url": link.url} for link in current.links],
        "logo": current.logo or None,
        "icon": current.icon or None,
        "etag": current.etag,
    }
