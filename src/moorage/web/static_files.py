"""Style sheets and scripts, which browsers may keep for good: another content has another address."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from starlette.responses import Response

from moorage.errors import NotFound
from moorage.web.pages import Page, Visit

__all__ = ["static_pages"]

_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_ROOT: Final = files("moorage.web") / "static"


def static_pages() -> list[Page]:
    known = _files()

    async def serve(visit: Visit) -> Response:
        found = known.get(visit.path["name"])
        if found is None:
            raise NotFound("route.unknown", "there is no such file")
        body, kind = found
        return Response(body, media_type=kind, headers={"cache-control": "public, max-age=31536000, immutable"})

    return [Page("GET", "/static/{version}/{name:path}", serve, "public")]


def _files() -> dict[str, tuple[bytes, str]]:
    found: dict[str, tuple[bytes, str]] = {}
    folders = [("", _ROOT)]
    while folders:
        prefix, folder = folders.pop()
        for entry in folder.iterdir():
            if entry.is_dir():
                folders.append((f"{prefix}{entry.name}/", entry))
            elif (kind := _TYPES.get(f".{entry.name.rpartition('.')[2]}")) is not None:
                found[prefix + entry.name] = (entry.read_bytes(), kind)
    return found
