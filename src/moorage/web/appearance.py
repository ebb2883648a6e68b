"""Settings: the application (name, ids, addresses, file storage) and how it looks (NAV-16, NAV-17, CUS-1, CUS-2).

What somebody chose comes to browsers as a style sheet and pictures of this host, so the content policy stays as strict
as it is: no value ever stands in a page as style.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Final, NamedTuple

from starlette.responses import RedirectResponse, Response

from moorage.accounts.customization import (
    MAX_LINKS,
    MAX_PICTURE_SIDE,
    PICTURES,
    Customization,
    CustomizationService,
    HelpLink,
    Picture,
    parse_colour,
    parse_link,
)
from moorage.errors import Invalid, NotFound, PreconditionFailed, Refusal, TooLarge
from moorage.web.colours import accent_of, header_of
from moorage.web.forms import about
from moorage.web.pages import Page, Visit
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices
from moorage.web.settings_code import application_acts, customization_acts

__all__ = ["Look", "appearance_pages", "look_of"]

_TOLD: Final = (Invalid, TooLarge, PreconditionFailed)
_FOR_GOOD: Final = {"cache-control": "public, max-age=31536000, immutable"}


class Look(NamedTuple):
    """What every page shows of a customization; addresses are '' where nothing was chosen."""

    name: str
    style: str
    logo: str
    icon: str
    links: tuple[HelpLink, ...]


def look_of(service: CustomizationService) -> Callable[[], Look]:
    """Read anew for every page."""

    def look() -> Look:
        current = service.current()
        style = _style_of(current.header, current.accent)
        return Look(
            current.name,
            f"/appearance/{_digest(style)}.css" if style else "",
            f"/appearance/logo/{current.logo}.png" if current.logo else "",
            f"/appearance/icon/{current.icon}.png" if current.icon else "",
            current.links,
        )

    return look


@lru_cache(maxsize=16)
def _style_of(header: str, accent: str) -> str:
    """Over tokens.css; both are `#rrggbb` or ''."""
    rules = []
    if header:
        made = header_of(header)
        rules += [
            f"--deep: light-dark({', '.join(made.ground)});",
            f"--deep-ink: light-dark({', '.join(made.ink)});",
            f"--deep-quiet: light-dark({', '.join(made.quiet)});",
        ]
    if accent:
        pairs = accent_of(accent)
        rules += [
            f"--sea: light-dark({', '.join(pairs.colour)});",
            f"--sea-ink: light-dark({', '.join(pairs.ink)});",
            f"--sea-wash: light-dark({', '.join(pairs.wash)});",
        ]
    return ":root {\n  " + "\n  ".join(rules) + "\n}\n" if rules else ""


def _digest(style: str) -> str:
    return hashlib.sha256(style.encode()).hexdigest()[:16]


def appearance_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Appearance(services, renderer)
    return [
        Page("GET", "/appearance/{name}.css", pages.style, "public"),
        Page("GET", "/appearance/{which}/{digest}.png", pages.picture, "public"),
        Page("GET", "/settings/application", pages.application, "settings.manage"),
        Page("POST", "/settings/application", pages.rename, "settings.manage", keeps=True),
        Page("GET", "/settings/customization", pages.customization, "settings.manage"),
        Page("POST", "/settings/customization", pages.save, "settings.manage", keeps=True),
        Page("POST", "/settings/customization/{which}", pages.put_picture, "settings.manage", keeps=True),
        Page("POST", "/settings/customization/{which}/remove", pages.remove_picture, "settings.manage"),
    ]


class _Appearance:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._service = services.customization
        self._renderer = renderer

    # -- what browsers fetch -------------------------------------------------------------------------------------------

    async def style(self, visit: Visit) -> Response:
        current = self._service.current()
        style = _style_of(current.header, current.accent)
        if not style or visit.path["name"] != _digest(style):
            raise NotFound("route.unknown", "there is no such style sheet, or not any more")
        return Response(style, media_type="text/css; charset=utf-8", headers=_FOR_GOOD)

    async def picture(self, visit: Visit) -> Response:
        data = self._service.picture(_which(visit), visit.path["digest"])
        if data is None:
            raise NotFound("route.unknown", "there is no such picture")
        return Response(data, media_type="image/png", headers=_FOR_GOOD)

    # -- Settings -> Application ---------------------------------------------------------------------------------------

    async def application(self, visit: Visit) -> Response:
        return await self._application(visit)

    async def rename(self, visit: Visit) -> Response:
        fields = await visit.form()
        try:
            visit.check_in_time()
            await self._service.rename(visit.actor, fields.get("name", ""), if_was=fields.get("was"))
        except (Invalid, PreconditionFailed) as refusal:
            return await self._application(visit, fields, refusal)
        return RedirectResponse("/settings/application", HTTPStatus.SEE_OTHER)

    async def _application(
        self, visit: Visit, fields: Mapping[str, str] = {}, problem: Refusal | None = None
    ) -> Response:
        current = self._service.current()
        return self._renderer.page(
            visit,
            "people/application.html",
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            name=fields.get("name", current.name),
            was=current.name if isinstance(problem, PreconditionFailed) else fields.get("was", current.name),
            application_id=await self._service.application_id(),
            info=self._services.info(),
            storage=self._services.file_storage,
            acts=application_acts(self._services.info(), fields.get("name", current.name)),
            problem=problem,
        )

    # -- Settings -> Customization -------------------------------------------------------------------------------------

    async def customization(self, visit: Visit) -> Response:
        return self._form(visit, _fields(self._service.current()))

    async def save(self, visit: Visit) -> Response:
        fields = await visit.form()
        try:
            visit.check_in_time()
            await self._service.save(
                visit.actor,
                # A colour field always has a value: the box beside it says whether it counts.
                header=_colour(fields, "header"),
                accent=_colour(fields, "accent"),
                links=_links(fields),
                if_match=fields.get("etag", ""),
            )
        except _TOLD as refusal:
            return self._form(visit, fields, refusal)
        return RedirectResponse("/settings/customization", HTTPStatus.SEE_OTHER)

    async def put_picture(self, visit: Visit) -> Response:
        try:
            visit.check_in_time()
            data = await visit.upload("picture")
            if not data:
                raise Invalid("form.file", "no file was chosen")
            await self._service.put_picture(visit.actor, _which(visit), data)
        except (Invalid, TooLarge) as refusal:
            return self._form(visit, _fields(self._service.current()), refusal)
        return RedirectResponse("/settings/customization", HTTPStatus.SEE_OTHER)

    async def remove_picture(self, visit: Visit) -> Response:
        await self._service.remove_picture(visit.actor, _which(visit))
        return RedirectResponse("/settings/customization", HTTPStatus.SEE_OTHER)

    def _form(self, visit: Visit, fields: dict[str, str], problem: Refusal | None = None) -> Response:
        current = self._service.current()
        return self._renderer.page(
            visit,
            "people/customization.html",
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            fields=fields,
            etag=current.etag if problem is None or problem.reason == "etag.stale" else fields.get("etag", ""),
            current=current,
            made=None if not current.accent else accent_of(current.accent),
            most_links=MAX_LINKS,
            most_side=MAX_PICTURE_SIDE,
            acts=customization_acts(self._services.info(), current),
            problem=problem,
        )


def _fields(current: Customization) -> dict[str, str]:
    fields = {"header": current.header or "#0f2d3d", "accent": current.accent or "#0b6a85"}
    if current.header:
        fields["own_header"] = "on"
    if current.accent:
        fields["own_accent"] = "on"
    for number, link in enumerate(current.links):
        fields |= {f"label{number}": link.label, f"url{number}": link.url}
    return fields


def _colour(fields: dict[str, str], name: str) -> str:
    with about(name):
        return parse_colour(fields.get(name, "")) if f"own_{name}" in fields else ""


def _links(fields: dict[str, str]) -> list[HelpLink]:
    """Rows with nothing in them are none. Raises `Invalid` (`customization.link`)."""
    rows = [(fields.get(f"label{number}", ""), fields.get(f"url{number}", "")) for number in range(MAX_LINKS)]
    links = []
    for number, (label, url) in enumerate(rows):
        if label.strip() or url.strip():
            try:
                links.append(parse_link(label, url))
            except Invalid as refusal:
                refusal.field += str(number)
                raise
    return links


def _which(visit: Visit) -> Picture:
    which = visit.path["which"]
    if which not in PICTURES:
        raise NotFound("route.unknown", "there is no such picture")
    return which
