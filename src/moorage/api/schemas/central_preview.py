"""What only preview versions of the Central API have (contract/central.md 23)."""

from __future__ import annotations

from typing import Final

from moorage.api.schemas.words import OBJECT, Schema, list_of, members, named, text

__all__ = ["MANIFEST", "MANIFEST_CHANGE", "MANIFEST_GIVEN", "QUERY", "RESULTS"]

QUERY: Final = named("CentralQuery", members({"query": text("SELECT ... FROM dtmi:... WHERE WITHIN_WINDOW(P1D)")}))
RESULTS: Final = named("CentralQueryResults", members({"results": list_of(OBJECT, "A member for each column.")}))
_MANIFEST: Final[dict[str, Schema]] = {
    "displayName": text("What people call it."),
    "data": members({"modulesContent": OBJECT}),
}
_PLACE: Final[dict[str, Schema]] = {"organizations": list_of(text(), "At most one.", most=1)}
MANIFEST: Final = named("CentralManifest", members({"id": text(), **_MANIFEST, "etag": text()}, _PLACE))
MANIFEST_CHANGE: Final = named(
    "CentralManifestChange", members({}, {**_MANIFEST, **_PLACE, "etag": text("Only if it is still that.")})
)
MANIFEST_GIVEN: Final = named(
    "CentralManifestGiven", members({}, {"id": text("Of a manifest."), "data": members({"modulesContent": OBJECT})})
)
