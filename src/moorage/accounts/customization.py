"""What an application is called and how it looks (contract/central.md NAV-16, CUS-1, CUS-2).

One small document and two pictures, kept with the hub's settings. A picture is a PNG that is taken apart and put
together anew from what draws it alone: nothing else that a file may carry comes along.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import re
import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

from moorage.accounts.model import Actor
from moorage.accounts.tables import AccountTables
from moorage.accounts.tokens import make_application_id
from moorage.errors import Invalid, PreconditionFailed, TooLarge
from moorage.events import Event
from moorage.ids import HubId, check_etag
from moorage.store import Store

__all__ = [
    "MAX_LINKS",
    "MAX_PICTURE_BYTES",
    "MAX_PICTURE_SIDE",
    "PICTURES",
    "Customization",
    "CustomizationService",
    "HelpLink",
    "Picture",
    "parse_application_name",
    "parse_colour",
    "parse_link",
    "parse_png",
]

audit = logging.getLogger("moorage.audit")

Picture = Literal["logo", "icon"]
PICTURES: Final[tuple[Picture, ...]] = ("logo", "icon")
MAX_LINKS: Final = 8
MAX_PICTURE_BYTES: Final = 256 * 1024
MAX_PICTURE_SIDE: Final = 1024
_MAX_NAME: Final = 60
_MAX_LABEL: Final = 60
_MAX_URL: Final = 500
_KEY: Final = "customization"
_COLOUR: Final = re.compile(r"#[0-9a-fA-F]{6}")
_PNG: Final = b"\x89PNG\r\n\x1a\n"
# PNG 3rd edition, 5.6: what an image is drawn from.
_DRAWN: Final = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
# Depths by colour type (11.2.1).
_DEPTHS: Final = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_MAX_CHUNKS: Final = 4096


class HelpLink(NamedTuple):
    label: str
    url: str


@dataclass(frozen=True, slots=True)
class Customization:
    """`header` and `accent` are `#rrggbb`, or '' for our own; `logo` and `icon` are digests of pictures, or ''."""

    name: str = ""
    header: str = ""
    accent: str = ""
    links: tuple[HelpLink, ...] = ()
    logo: str = ""
    icon: str = ""
    version: int = 0

    @property
    def etag(self) -> str:
        return str(self.version)


def parse_application_name(text: str) -> str:
    """'' for our own. Raises `Invalid` (`customization.name`)."""
    name = " ".join(text.split())
    if len(name) > _MAX_NAME or not name.isprintable():
        raise Invalid(
            "customization.name",
            f"a name has at most {_MAX_NAME} printable characters, this one has {len(name)}",
        )
    return name


def parse_colour(text: str) -> str:
    """'' for our own. Raises `Invalid` (`customization.colour`)."""
    colour = text.strip()
    if colour and not _COLOUR.fullmatch(colour):
        raise Invalid("customization.colour", f"{text[:40]!r} is no colour such as #0f2d3d")
    return colour.lower()


def parse_link(label: str, url: str) -> HelpLink:
    """Raises `Invalid` (`customization.link`): of what a browser could run, or without a host."""
    label, url = " ".join(label.split()), url.strip()
    if not 0 < len(label) <= _MAX_LABEL or not label.isprintable():
        raise Invalid(
            "customization.link", f"a link has a label of 1 to {_MAX_LABEL} printable characters", field="label"
        )
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("https", "http") and bool(parts.hostname)
    except ValueError:
        is_good = False
    if not is_good or len(url) > _MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise Invalid(
            "customization.link",
            f"{url[:80]!r} is no address such as https://example.com/help, of at most {_MAX_URL} characters",
            field="url",
        )
    return HelpLink(label, url)


def parse_png(data: bytes) -> bytes:
    """The same picture, of what draws it alone. Raises `Invalid` (`customization.picture`), `TooLarge` (same)."""
    if len(data) > MAX_PICTURE_BYTES:
        raise TooLarge(
            "customization.picture", f"a picture has at most {MAX_PICTURE_BYTES} bytes, this one has {len(data)}"
        )
    if not data.startswith(_PNG):
        raise Invalid("customization.picture", "a picture is a PNG file, and this is none")
    kept: list[tuple[bytes, bytes]] = []
    at = len(_PNG)
    for _ in range(_MAX_CHUNKS):
        head = data[at : at + 8]
        if len(head) < 8:
            raise _bad_picture("it ends in the middle")
        length, kind = struct.unpack(">I4s", head)
        body, check = data[at + 8 : at + 8 + length], data[at + 8 + length : at + 12 + length]
        if len(body) < length or check != struct.pack(">I", zlib.crc32(kind + body)):
            raise _bad_picture("a part of it is damaged")
        at += 12 + length
        if kind in _DRAWN:
            kept.append((kind, body))
        if kind == b"IEND":
            break
    _check_drawing(kept)
    return _PNG + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in kept
    )


def _check_drawing(parts: list[tuple[bytes, bytes]]) -> None:
    kinds = [kind for kind, _body in parts]
    if not parts or kinds[0] != b"IHDR" or kinds.count(b"IHDR") != 1 or kinds[-1] != b"IEND" or b"IDAT" not in kinds:
        raise _bad_picture("its parts are not in order")
    if len(parts[0][1]) != 13:
        raise _bad_picture("its head has another size")
    width, height, depth, colours, packing, filters, interlace = struct.unpack(">IIBBBBB", parts[0][1])
    if not (0 < width <= MAX_PICTURE_SIDE and 0 < height <= MAX_PICTURE_SIDE):
        raise _bad_picture(f"it is {width} by {height}; a side has at most {MAX_PICTURE_SIDE}")
    if depth not in _DEPTHS.get(colours, ()) or (packing, filters) != (0, 0) or interlace > 1:
        raise _bad_picture("its head makes no sense")
    # Four channels of 16 bits and a byte a line; interlaced ones have seven passes, each with lines of its own.
    most = height * (width * 8 + 1) + 7 * (height + 7)
    unpacked = zlib.decompressobj()
    try:
        size = len(unpacked.decompress(b"".join(body for kind, body in parts if kind == b"IDAT"), most + 1))
    except zlib.error:
        raise _bad_picture("its image cannot be unpacked") from None
    if not 0 < size <= most:
        raise _bad_picture("its image has another size than it says")


def _bad_picture(why: str) -> Invalid:
    return Invalid("customization.picture", f"this PNG cannot be used: {why}")


class CustomizationService:
    """Of one hub's application."""

    def __init__(self, hub: HubId, store: Store[AccountTables]) -> None:
        self._hub = hub
        self._store = store
        # The document as it is stored, and as it was read: every page asks.
        self._read = ("", Customization())

    def current(self) -> Customization:
        text = self._store.read().settings.get(_KEY, self._hub) or ""
        stored, read = self._read
        if text == stored:
            return read
        read = _decode(text)
        self._read = (text, read)
        return read

    def picture(self, which: Picture, digest: str) -> bytes | None:
        """The one of that digest; None when there is none, or another one by now."""
        if not digest or getattr(self.current(), which) != digest:
            return None
        stored = self._store.read().settings.get(f"{_KEY}.{which}", self._hub)
        return None if stored is None else base64.b64decode(stored)

    async def application_id(self) -> str:
        """The application's own UUID, made when it is first asked for."""
        return await self._store.write(lambda tables: make_application_id(tables, self._hub))

    async def rename(self, actor: Actor, name: str, *, if_was: str | None = None) -> Customization:
        """`if_was` is the name that the caller saw. Raises `Invalid` (`customization.name`), `PreconditionFailed`."""
        named = parse_application_name(name)

        def change(before: Customization) -> Customization:
            if if_was is not None and if_was != before.name:
                raise PreconditionFailed(
                    "etag.stale", f"somebody else has named the application {before.name!r} since you saw it"
                )
            return replace(before, name=named)

        return await self._change(actor, change, "application.renamed")

    async def save(
        self, actor: Actor, *, header: str, accent: str, links: Iterable[HelpLink], if_match: str | None = None
    ) -> Customization:
        """Raises `Invalid` (`customization.*`), `TooLarge`, `PreconditionFailed` (`etag.stale`)."""
        colours, chosen = (parse_colour(header), parse_colour(accent)), tuple(links)
        if len(chosen) > MAX_LINKS:
            raise TooLarge("customization.link", f"there are at most {MAX_LINKS} help links")

        def change(before: Customization) -> Customization:
            check_etag("the appearance", if_match, before.etag)
            return replace(before, header=colours[0], accent=colours[1], links=chosen)

        return await self._change(actor, change, "application.customized")

    async def put_picture(self, actor: Actor, which: Picture, data: bytes) -> Customization:
        """Raises `Invalid`, `TooLarge` (`customization.picture`)."""
        # One of 8 KB may unpack to 8 MB, which takes longer than the event loop has.
        drawn = await asyncio.to_thread(parse_png, data)
        digest = hashlib.sha256(drawn).hexdigest()[:16]
        stored = base64.b64encode(drawn).decode()
        return await self._change(
            actor,
            lambda before: replace(before, logo=digest) if which == "logo" else replace(before, icon=digest),
            f"application.{which}_put",
            (which, stored),
        )

    async def remove_picture(self, actor: Actor, which: Picture) -> Customization:
        return await self._change(
            actor,
            lambda before: replace(before, logo="") if which == "logo" else replace(before, icon=""),
            f"application.{which}_removed",
            (which, ""),
        )

    async def _change(
        self,
        actor: Actor,
        change: Callable[[Customization], Customization],
        event: str,
        picture: tuple[Picture, str] | None = None,
    ) -> Customization:
        def work(tables: AccountTables) -> tuple[Customization, Customization]:
            before = _decode(tables.settings.get(_KEY, self._hub) or "")
            after = replace(change(before), version=before.version + 1)
            tables.settings.put(_KEY, _encode(after), self._hub)
            if picture is not None:
                tables.settings.put(f"{_KEY}.{picture[0]}", picture[1], self._hub)
            tables.outbox.emit(Event("customization.changed", self._hub, self._hub))
            return before, after

        before, after = await self._store.write(work)
        facts = {"hub": self._hub, "application": after.name or "moorage"}
        for name in ("name", "header", "accent", "logo", "icon"):
            was, now = getattr(before, name), getattr(after, name)
            if was != now:
                facts |= {f"{name}_before": was or "(none)", name: now or "(none)"}
        if before.links != after.links:
            facts["links"] = ", ".join(link.url for link in after.links) or "(none)"
        facts["by"] = actor.name
        line = " ".join(f"{name}=%s" for name in facts)
        audit.info(f"{event} {line}", *facts.values(), extra={"event": event, "facts": facts})
        return after


def _encode(value: Customization) -> str:
    return json.dumps(
        {
            "name": value.name,
            "header": value.header,
            "accent": value.accent,
            "links": [list(link) for link in value.links],
            "logo": value.logo,
            "icon": value.icon,
            "version": value.version,
        }
    )


def _decode(text: str) -> Customization:
    if not text:
        return Customization()
    document = json.loads(text)
    return Customization(**{**document, "links": tuple(HelpLink(*link) for link in document["links"])})
