"""Pages as values, and what every one of them goes through before its handler is called.

request ─► same site? ─► session ─► permission ─► handler ─► answer, with the content policy
              │             │           │
             403      sign-in page     403            a Refusal on the way becomes a page that says it
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any, BinaryIO, Final, Literal
from urllib.parse import quote, urlsplit

from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import Response

from moorage.accounts.model import Actor, OrganizationId, Permission, Session, User
from moorage.errors import Conflict, Forbidden, Invalid, NotFound, PreconditionFailed, Refusal, TooLarge

__all__ = [
    "HELD",
    "MAX_FORM_BYTES",
    "MAX_STRANGERS_FORM_BYTES",
    "NOBODY",
    "ORGANIZATION_COOKIE",
    "TOLD",
    "Gate",
    "Handler",
    "Page",
    "Visit",
    "check_same_site",
    "etag_for",
    "secure",
    "segment",
]

# A certificate chain, a twin or a template, with room for what multipart adds.
MAX_FORM_BYTES: Final = 1024 * 1024
# From somebody who is not signed in: a name and two passwords.
MAX_STRANGERS_FORM_BYTES: Final = 16 * 1024
# A form of every property that a template may have (contract/central.md LIM-9), and some more.
_MAX_FIELDS: Final = 400
# Names that mean something else where they stand in a path: browsers take dots out of it, and "new" is a page.
_RESERVED: Final = (".", "..", "new")

# Who may come: anybody, whoever is signed in, or those whose role has a permission.
Gate = Literal["public", "signed in"] | Permission

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=()",
}


# In the query of a form that comes back after a sign-in: the name of its field for a file, if one was chosen.
HELD: Final = "held"
# Refusals that a page with a form tells beside what was typed, which is kept.
TOLD: Final = (Invalid, Conflict, Forbidden, NotFound, PreconditionFailed, TooLarge)
# A preference of a browser, which opens nothing.
ORGANIZATION_COOKIE: Final = "organization"
# Whoever is not signed in.
NOBODY: Final = Actor("", frozenset())


@dataclass(slots=True)
class Visit:
    """One request that came through. Where nobody is signed in, `user` is None and `actor` may nothing."""

    request: Request
    user: User | None
    session: Session | None
    theme: str
    actor: Actor
    # What a form may have; a page that takes larger files says so before it asks for anything of its form.
    form_limit: int = MAX_FORM_BYTES
    # Signed in in this browser until lately: no stranger to the hub, though nobody now.
    was_here: bool = False

    @property
    def path(self) -> Mapping[str, str]:
        """By name, as `segment` was given them."""
        return {name: _named_by(value) for name, value in self.request.path_params.items()}

    @property
    def here(self) -> str:
        """The path that was asked for. `request.url` would be made from the `Host` header, which anybody may write."""
        path: str = self.request.scope["path"]
        return path

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query_params

    @property
    def is_fragment(self) -> bool:
        """htmx asks for a part of the page."""
        return "hx-request" in self.request.headers and "hx-boosted" not in self.request.headers

    @property
    def address(self) -> str:
        """`host` of the browser, without the port."""
        client = self.request.client
        return client.host if client else ""

    @property
    def by(self) -> str:
        """Whoever is signed in, for the audit log."""
        return self.actor.name

    @property
    def default_organization(self) -> OrganizationId:
        """Where what somebody makes begins: as they chose for this browser, else where they belong (ORG-6)."""
        chosen = OrganizationId(self.request.cookies.get(ORGANIZATION_COOKIE, ""))
        return chosen if chosen and self.actor.sees(chosen) else self.actor.organization

    def may(self, permission: Permission) -> bool:
        return self.actor.may(permission)

    def check_in_time(self) -> None:
        """Raises `Invalid` (`page.signed_out`) for a form that was sent once the sign-in had ended (retyping.py).

        Whoever typed it, or signed in since, sees it again before anything is done.
        """
        if HELD in self.query:
            chosen = self.query[HELD]
            again = ", and the file is to be chosen again" if chosen else ""
            raise Invalid(
                "page.signed_out",
                f"you were signed out before this was sent; it is as you typed it{again}: send it once more",
                field=chosen,
            )

    async def fields(self) -> list[tuple[str, str]]:
        """The text fields of a form as they were sent. Raises as `form`."""
        return [(name, value) for name, value in (await self._form()).multi_items() if isinstance(value, str)]

    async def files(self) -> list[str]:
        """The names of the fields in which a file was chosen. Raises as `form`."""
        items = (await self._form()).multi_items()
        return [name for name, value in items if not isinstance(value, str) and value.filename]

    async def form(self) -> dict[str, str]:
        """The text fields of a form, the last of each name. Raises `Invalid` (`form.malformed`), `TooLarge`."""
        return {name: value for name, value in (await self._form()).items() if isinstance(value, str)}

    async def values(self, name: str) -> list[str]:
        """The text fields of that name. Raises as `form`."""
        return [value for value in (await self._form()).getlist(name) if isinstance(value, str)]

    async def file(self, name: str) -> BinaryIO | None:
        """The file of that field, None where none is. It is closed once the answer was sent. Raises as `form`."""
        value = (await self._form()).get(name)
        return None if value is None or isinstance(value, str) or not value.size else value.file

    async def upload(self, name: str) -> bytes:
        """The file of that field, empty when none was chosen. Raises as `form`."""
        value = (await self._form()).get(name)
        return b"" if value is None or isinstance(value, str) else await value.read()

    async def _form(self) -> Any:
        is_stranger = self.user is None and not self.was_here
        headers, most = self.request.headers, MAX_STRANGERS_FORM_BYTES if is_stranger else self.form_limit
        declared = headers.get("content-length", "0")
        # Zeros in front are part of a length too (RFC 9110, 8.6); what is longer than this is larger than any form.
        says = declared.lstrip("0") or "0"
        if "transfer-encoding" in headers or not declared.isdigit() or len(says) > 12 or int(says) > most:
            raise TooLarge("form.size", f"a form says how long it is, and has at most {most} bytes")
        _check_charset(headers.get("content-type", ""))
        try:
            return await self.request.form(max_files=4, max_fields=_MAX_FIELDS, max_part_size=MAX_FORM_BYTES)
        except MultiPartException as error:
            # Starlette makes it an `HTTPException` only for an application of its own.
            raise Invalid("form.malformed", f"the form cannot be read: {error.message}") from None


Handler = Callable[[Visit], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Page:
    """`pattern` has `{name}` for a segment. `gate` says who may come.

    What is typed into the form of a page that `keeps` comes back where the sign-in ended meanwhile.
    """

    method: Literal["GET", "POST"]
    pattern: str
    handler: Handler = field(repr=False)
    gate: Gate
    keeps: bool = False


def etag_for(fields: Mapping[str, str], problem: Refusal | None, current: str) -> str:
    """What a form that comes back is to be judged by: as it was sent, until somebody else's change was told once."""
    return current if isinstance(problem, PreconditionFailed) else fields.get("etag", current)


def segment(name: str) -> str:
    """A name as one segment of a path; `Visit.path` has the name again. No name of ours begins with a tilde."""
    return f"~{name}" if name in _RESERVED else quote(name, safe="")


def _named_by(text: str) -> str:
    return text[1:] if text[:1] == "~" and text[1:] in _RESERVED else text


def _check_charset(content_type: str) -> None:
    """Forms are sent as the page is, in UTF-8: other codecs make text of bytes that is none. Raises `Invalid`."""
    message = Message()
    message["content-type"] = content_type
    charset = message.get_content_charset("utf-8")
    if charset not in ("utf-8", "utf8"):
        raise Invalid("form.malformed", f"a form is sent in UTF-8, not in {charset[:40]!r}")


def check_same_site(request: Request) -> None:
    """A change has to come from a page of ours. Raises `Forbidden` (`page.foreign`).

    Browsers say where a request comes from in `Sec-Fetch-Site`, older ones in `Origin`; no script can forge either.
    """
    if request.method in ("GET", "HEAD"):
        return
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        is_ours = site == "same-origin"
    else:
        try:
            origin = urlsplit(request.headers.get("origin", "")).netloc.lower()
        except ValueError:
            origin = ""
        is_ours = bool(origin) and origin == request.headers.get("host", "").lower()
    if not is_ours:
        raise Forbidden("page.foreign", "this was not sent by a page of this hub, so nothing was changed")


def secure(response: Response) -> Response:
    """`response` with what browsers are to hold themselves to."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("cache-control", "no-store")
    return response
