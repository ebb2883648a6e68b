"""The running hub, over HTTPS: address from `hub.json`, trust from `ca-bundle.pem`, bearer from `owner.key`.

It connects to the address that was bound and asks for the hub's own name, so that commands work on the hub's machine
whatever DNS says. Every answer that is no success becomes a `Refusal`, in whichever of the service's error styles it
came (contract/services.md 2.12, P-9, 5.4).
"""

from __future__ import annotations

import json
import re
import shlex
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import httpx

from moorage.cli.owner import owner_token
from moorage.errors import Invalid, Refusal, Unavailable
from moorage.hub_info import HubInfo, read_hub_info

__all__ = ["DPS_CERTIFICATES", "HUB_CERTIFICATES", "HubClient", "segment"]

_HUB_API = "2021-04-12"
_DPS_API = "2021-10-01"
_ARM_API = {"IotHubs": "2023-06-30-preview", "provisioningServices": "2021-10-15"}

_ARM = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/moorage/providers/Microsoft.Devices"
HUB_CERTIFICATES = f"{_ARM}/IotHubs/hub/certificates"
DPS_CERTIFICATES = f"{_ARM}/provisioningServices/dps/certificates"

# The longest answer a command waits for, method calls aside.
_PATIENCE_S = 30.0
# Items that a query is asked for at a time.
_PAGE = 1000


class _Event(NamedTuple):
    """`at` is its id: where `Last-Event-ID` goes on."""

    name: str
    data: str
    at: str


def segment(text: str) -> str:
    """`text` as one path segment, whatever is in it.

    `.` and `..` would be taken for steps in the path, by the client already, and lead to another thing; so would
    nothing at all, for which this raises `Invalid` (`id.empty`).
    """
    if not text:
        raise Invalid("id.empty", "an id is empty, and so names nothing")
    # Bytes of the command line that are no UTF-8 go as they came.
    quoted = quote(text.encode("utf-8", "surrogateescape"), safe="")
    return quoted.replace(".", "%2E") if text in (".", "..") else quoted


class HubClient:
    """Requests to one hub, as its owner. The bearer is renewed at half of its lifetime: some commands run for days."""

    def __init__(self, data: Path, *, bearer_lifetime: timedelta = timedelta(hours=1)) -> None:
        self.info: HubInfo = read_hub_info(data)
        self._data = data
        self._bearer_lifetime = bearer_lifetime
        self._renew_bearer()
        try:
            trust = ssl.create_default_context(cafile=str(self.info.ca_bundle))
        except (OSError, ssl.SSLError) as error:
            raise Unavailable("hub.unreachable", f"{self.info.ca_bundle} cannot be read: {error}") from error
        self._http = httpx.Client(verify=trust, trust_env=False, timeout=_PATIENCE_S)

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        raw: tuple[str, bytes] | None = None,
        if_match: str | None = None,
        patience_s: float = _PATIENCE_S,
    ) -> Any:
        """The parsed answer, None when it has no body. `raw` is a media type and a body that is not JSON.

        Raises `Refusal`.
        """
        headers = {} if if_match is None else {"If-Match": if_match}
        if raw is not None:
            headers["Content-Type"] = raw[0]
        content = None if raw is None else raw[1]
        response = self._ask(
            method, path, body=body, content=content, query=query, headers=headers, patience_s=patience_s
        )
        return response.json() if response.content else None

    def query_all(
        self, path: str, text: str = "SELECT *", *, page: int = _PAGE, patience_s: float = _PATIENCE_S
    ) -> Iterator[Any]:
        """Every item of a collection that is queried page by page (contract/services.md Q-1, Q-2). Raises `Refusal`."""
        return self._pages("POST", path, body={"query": text}, page=page, patience_s=patience_s)

    def list_all(self, path: str, query: Mapping[str, str]) -> Iterator[Any]:
        """As `query_all`, of what is read page by page with GET."""
        return self._pages("GET", path, query=query)

    def _pages(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        page: int = _PAGE,
        patience_s: float = _PATIENCE_S,
    ) -> Iterator[Any]:
        headers = {"x-ms-max-item-count": str(page)}
        while True:
            response = self._ask(method, path, body=body, query=query, headers=headers, patience_s=patience_s)
            yield from response.json()
            continuation = response.headers.get("x-ms-continuation")
            if not continuation:
                return
            headers["x-ms-continuation"] = continuation

    def bulk(self, items: Sequence[Any]) -> dict[str, Any]:
        """Change many identities (contract/services.md 2.6); what came of it, also where items were refused.

        Scopes of another hub are turned into this one's. May be called from many threads. Raises `Refusal`.
        """
        response = self._ask(
            "POST", "/devices", body=items, headers={}, query={"rebase": "true"}, takes=frozenset({400})
        )
        document = response.json()
        if not isinstance(document, dict) or "isSuccessful" not in document:
            raise _refusal(response)
        return document

    def take(self, path: str) -> tuple[str, Any] | None:
        """What waits in a queue with locks, as (lock token, document); None when nothing does. Raises `Refusal`."""
        response = self._ask("GET", path, body=None, headers={})
        return (response.headers["iothub-locktoken"], response.json()) if response.content else None

    def lines(self, path: str, query: Mapping[str, str]) -> Iterator[bytes]:
        """Lines of a long answer, as they come. Raises `Refusal`, also when it is cut off."""
        return _lines(self.pieces(path, query))

    def pieces(self, path: str, query: Mapping[str, str] | None = None) -> Iterator[bytes]:
        """A long answer, as it comes. Raises `Refusal`, also when it is cut off."""
        try:
            with self._http.stream(
                "GET", self._url(path), params=dict(query or {}), headers=self._headers(), extensions=self._extensions()
            ) as response:
                if not response.is_success:
                    response.read()
                    raise _refusal(response)
                yield from response.iter_bytes()
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def follow(self, path: str, query: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        """Server-sent events as (event, data), until the hub ends the stream. Raises `Refusal`.

        A stream ends with its bearer; then this goes on with another one from where it was.
        """
        at = ""
        while True:
            has_expired = False
            for event in self._stream(path, query, at):
                at = event.at or at
                has_expired = event.name == "ended" and json.loads(event.data).get("reason") == "stream.expired"
                if not has_expired:
                    yield event.name, event.data
            if not has_expired:
                return
            self._renew_bearer()

    def _stream(self, path: str, query: Mapping[str, str], at: str) -> Iterator[_Event]:
        try:
            with self._http.stream(
                "GET",
                self._url(path),
                params=dict(query),
                headers={
                    **self._headers(),
                    "Accept": "text/event-stream",
                    **({"Last-Event-ID": at} if at else {}),
                },
                extensions=self._extensions(),
                timeout=httpx.Timeout(_PATIENCE_S, read=None),
            ) as response:
                if not response.is_success:
                    response.read()
                    raise _refusal(response)
                yield from _events(_lines(response.iter_bytes()))
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _ask(
        self,
        method: str,
        path: str,
        *,
        body: Any,
        content: bytes | None = None,
        headers: Mapping[str, str],
        query: Mapping[str, str] | None = None,
        patience_s: float = _PATIENCE_S,
        takes: frozenset[int] = frozenset(),
    ) -> httpx.Response:
        """`takes` are statuses beside success that are no refusal."""
        try:
            response = self._http.request(
                method,
                self._url(path),
                params={"api-version": _api_version(path), **(query or {})},
                content=content if body is None else json.dumps(body, allow_nan=False),
                headers=self._headers()
                | ({} if body is None else {"Content-Type": "application/json"})
                | dict(headers),
                extensions=self._extensions(),
                timeout=patience_s,
            )
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if not response.is_success and response.status_code not in takes:
            raise _refusal(response)
        return response

    def close(self) -> None:
        self._http.close()

    def _url(self, path: str) -> str:
        bound = self.info.local_address
        host = f"[{bound}]" if ":" in bound else bound
        return f"https://{host}:{self.info.https_port}{path}"

    def _headers(self) -> dict[str, str]:
        if time.monotonic() - self._bearer_made > self._bearer_lifetime.total_seconds() / 2:
            self._renew_bearer()
        return {"Host": self.info.service_host, "Authorization": f"Bearer {self._bearer.reveal()}"}

    def _renew_bearer(self) -> None:
        self._bearer = owner_token(self._data, datetime.now(UTC), self._bearer_lifetime)
        self._bearer_made = time.monotonic()

    def _extensions(self) -> dict[str, Any]:
        return {"sni_hostname": self.info.hostname}

    def _unreachable(self, error: httpx.HTTPError) -> Refusal:
        where = f"{self.info.bind}:{self.info.https_port}"
        if isinstance(error, httpx.TimeoutException):
            return Unavailable("hub.timeout", f"the hub at {where} did not answer in time ({type(error).__name__})")
        return Unavailable(
            "hub.unreachable",
            f"no hub answers at {where}, where the one on {self.info.data} last ran: {error}",
            fix=f"moorage up --data {shlex.quote(str(self.info.data))}",
        )


def _api_version(path: str) -> str:
    for resource, version in _ARM_API.items():
        if f"/Microsoft.Devices/{resource}/" in path:
            return version
    return _DPS_API if path.startswith(("/enrollment", "/registrations")) else _HUB_API


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """LF ends a line, and nothing else: texts of JSON may hold what Unicode takes for an end of a line, as they are."""
    rest = b""
    for data in pieces:
        *complete, rest = (rest + data).split(b"\n")
        yield from complete
    if rest:
        yield rest


def _events(lines: Iterable[bytes]) -> Iterator[_Event]:
    event, at, data = "message", "", list[str]()
    for line in (line.removesuffix(b"\r").decode() for line in lines):
        if not line:
            if data:
                yield _Event(event, "\n".join(data), at)
            event, at, data = "message", "", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name == "event":
            event = value
        elif name == "id":
            at = value


def _refusal(response: httpx.Response) -> Refusal:
    """The hub's own reason and fix where it gives them, else the service's code."""
    try:
        body = response.json()
    except ValueError:
        body = {}
    members = _members(body if isinstance(body, dict) else {})
    code = str(members.get("errorCode") or members.get("code") or response.headers.get("iothub-errorcode") or "")
    text = str(members.get("message") or members.get("Message") or response.reason_phrase)
    if found := re.match(r"ErrorCode:(\w+);\s*(.*)", text, re.DOTALL):
        code, text = code or found[1], found[2]
    reason = str(members.get("reason") or response.headers.get("moorage-reason") or "")
    fix = str(members.get("fix") or unquote(response.headers.get("moorage-fix") or ""))
    if fix:
        # For clients that show nothing but the message, the service ends it with the fix.
        text = text.removesuffix(f". {fix}")
    if not reason:
        # Not one of ours: a proxy on the way, or a surface that tells strangers nothing.
        reason, text = "hub.refused", f"{response.status_code} {code} {text}".replace("  ", " ")
    return Refusal(reason, text, fix=fix)


def _members(body: dict[str, Any]) -> dict[str, Any]:
    if isinstance(body.get("error"), dict):
        return dict(body["error"])
    message = body.get("Message")
    if isinstance(message, str) and message.startswith("{"):
        try:
            inner = json.loads(message)
        except ValueError:
            return body
        return inner if isinstance(inner, dict) else body
    return body
