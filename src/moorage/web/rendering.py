"""Templates to answers: Jinja2 with every value escaped, and the few words that all pages share."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from moorage.clock import Clock
from moorage.dialects.times import format_time
from moorage.web.advice import advice
from moorage.web.checks import asks
from moorage.web.forms import told
from moorage.web.navigation import navigation
from moorage.web.pages import Visit, segment

__all__ = ["Renderer", "sentence", "shortened", "who"]

# Line ends and tabs are kept for what is shown as it came.
_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
)
# To compile one takes some 8 ms: a tenth of a core, for a quarter of a minute.
_PAUSE_BETWEEN_TEMPLATES_S: Final = 0.08
_STATIC: Final = files("moorage.web") / "static"
# A thumbprint or a digest: 40 digits for SHA-1, 64 for SHA-256.
_HASH: Final = re.compile(r"\b(?:[0-9A-Fa-f]{64}|[0-9A-Fa-f]{40})\b")
_HASH_SHOWN: Final = 8
_COPIED: Final = Markup(
    '<button type="button" class="hash" data-copy="{whole}" title="Copy {whole}"><code>{first}\u2026</code></button>'
)


class Renderer:
    """`page(visit, "devices/list.html", ...)`. `hub_name` stands in the head of every page, which `look` may change."""

    def __init__(self, clock: Clock, hub_name: str, look: Callable[[], object]) -> None:
        self._clock = clock
        self._look = look
        self._environment = Environment(
            loader=PackageLoader("moorage.web", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=_visible,
        )
        self._environment.globals |= {"static": static_url, "hub_name": hub_name}
        self._environment.filters |= {
            "time": _time,
            "ago": self._ago,
            "segment": segment,
            "groups": _groups,
            "advice": advice,
            "sentence": sentence,
            "told": told,
            "who": who,
            "asks": asks,
            "shortened": shortened,
        }

    def page(self, visit: Visit, template: str, status: int = 200, **values: Any) -> Response:
        """A page, or a part of one, which is a template of its own."""
        return self._made(visit, template, status, {**values, "look": self._look()})

    async def long_page(self, visit: Visit, template: str, status: int = 200, **values: Any) -> Response:
        """As `page`, made in a thread: what has many rows or much text must not hold the loop (S8)."""
        # The look is read from the store, which the loop's thread alone may ask.
        return await asyncio.to_thread(self._made, visit, template, status, {**values, "look": self._look()})

    def _made(self, visit: Visit, template: str, status: int, values: dict[str, Any]) -> Response:
        return HTMLResponse(self.text(visit, template, navigation=navigation(visit), **values), status)

    async def warm(self) -> None:
        """Compile all templates in a thread, slowly: else whoever opens a page first waits for that, some 50 ms."""
        for name in self._environment.list_templates():
            await asyncio.to_thread(self._environment.get_template, name)
            await asyncio.sleep(_PAUSE_BETWEEN_TEMPLATES_S)

    def text(self, visit: Visit, template: str, **values: Any) -> str:
        """A part that goes into a stream; also for a thread."""
        context = {"visit": visit, "user": visit.user, "now": self._clock.now(), **values}
        return self._environment.get_template(template).render(context)

    def _ago(self, moment: datetime | None) -> str:
        """How long ago, or how far ahead: one number and one unit."""
        if moment is None:
            return "never"
        seconds = (self._clock.now() - moment).total_seconds()
        span = _span(abs(seconds))
        if span == "now":
            return "just now"
        return f"{span} ago" if seconds > 0 else f"in {span}"


def sentence(message: str) -> str:
    """What a refusal says, as a sentence. An address that stands first keeps its small letters."""
    first = message.split(" ", 1)[0]
    return f"{message if '://' in first else message[:1].upper() + message[1:]}."


def who(actor: str) -> str:
    """An actor's name for people: that of a user as they sign in."""
    kind, _, name = actor.partition(":")
    return {"user": name, "token": f"API token {name}"}.get(kind, actor) if name else actor


def shortened(text: str) -> Markup:
    """`text` with the first digits of each long hash in it; the whole is said on hover, and copied on a click."""
    parts, at = [], 0
    for found in _HASH.finditer(text):
        whole = found[0]
        parts += [
            Markup.escape(_visible(text[at : found.start()])),
            _COPIED.format(whole=whole, first=whole[:_HASH_SHOWN]),
        ]
        at = found.end()
    return Markup("").join([*parts, Markup.escape(_visible(text[at:]))])


def static_url(name: str) -> str:
    """Where a file of `static` is; another one when its bytes change, so that browsers may keep it for good."""
    return f"/static/{_version(name)}/{name}"


@cache
def _version(name: str) -> str:
    return hashlib.sha256((_STATIC / name).read_bytes()).hexdigest()[:12]


def _time(moment: datetime | None) -> str:
    return "" if moment is None else format_time(moment)


def _visible(value: Any) -> Any:
    """What is printed of a value: controls and what turns the direction of a line are written as `\\u202e`.

    Names, subjects and messages are a stranger's to choose, and must not look like another one's.
    """
    if not isinstance(value, str) or hasattr(value, "__html__") or value.isprintable():
        return value
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", value)


def _groups(text: str, size: int = 4) -> str:
    """A long hexadecimal number in groups that an eye can compare."""
    return " ".join(text[at : at + size] for at in range(0, len(text), size))


def _span(seconds: float) -> str:
    units: tuple[tuple[str, float], ...] = (("y", 31_557_600), ("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    for unit, length in units:
        if seconds >= length * (2 if unit in "yd" else 1):
            return f"{int(seconds // length)} {unit}"
    return "now"
