"""Dashboards of the Central API's preview versions (contract/central.md 13, 23)."""

from __future__ import annotations

from typing import Final

from moorage.api.schemas.words import FLAG, Schema, list_of, members, named, text, whole

__all__ = ["DASHBOARD", "DASHBOARD_CHANGE"]

_TILE: Final = named(
    "CentralTile",
    members(
        {"configuration": members({"type": text("`lineChart`, `kpi`, `lkv`, `markdown`, ...")})},
        {
            "id": text(),
            "displayName": text(),
            "x": whole(),
            "y": whole(),
            "width": whole("In cells.", least=1),
            "height": whole("In cells.", least=1),
        },
    ),
)
_MORE: Final[dict[str, Schema]] = {
    "tiles": list_of(_TILE, most=100),
    "personal": FLAG,
    "favorite": FLAG,
    "organizations": list_of(text(), "At most one.", most=1),
}
DASHBOARD: Final = named("CentralDashboard", members({"id": text(), "displayName": text(), "etag": text()}, _MORE))
DASHBOARD_CHANGE: Final = named("CentralDashboardChange", members({}, {"displayName": text(), **_MORE}))
