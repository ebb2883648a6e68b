"""Generated requests: those that fit the OpenAPI document, those that just do not, and those that no client would send.

`schemathesis` makes the first two from what the document says. Each is then spoiled: in its body, its headers, its path
or its query, with what parsers are known to stumble over. Some ids are those of things that are there, so that
operations do more than look in vain.
"""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote

import requests
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case as AnyCase
from schemathesis import GenerationMode
from schemathesis.schemas import APIOperation

from tests.api.served import Headers

__all__ = ["Operation", "Sent", "generated", "impatient", "spoiled"]

Case = AnyCase[Any]
Operation = APIOperation[Any, Any, Any, Any]

_BASE: Final = "https://hub"

# Bodies that are no JSON, or JSON of a kind that hurts.
_BODIES: Final[tuple[bytes, ...]] = (
    b"",
    b"{",
    b"\x00",
    b"null",
    b"[]",
    b'"text"',
    b"true",
    b"NaN",
    b"-Infinity",
    b"1e400",
    b"9" * 5000,
    b'{"a": 1e999}',
    b'{"a": 1, "a": 2}',
    b'"\\ud800"',
    b'{"\\ud800": "\\udfff"}',
    b'{"deviceId": "\\u0000"}',
    b"\xef\xbb\xbf{}",
    "{}".encode("utf-16"),
    b"\xff\xfe\xfd",
    b"\x1f\x8b\x08\x00",
    b"[" * 50_000,
    b'{"a":' * 20_000,
    b"[" * 5_000 + b"]" * 5_000,
    b'{"properties": ' * 40 + b"{}" + b"}" * 40,
    b"select * from devices",
    b"<?xml version='1.0'?><a/>",
    b"a=1&b=2",
    b'{"a": "' + b"x" * (1024 * 1024) + b'"}',
)
_DEEP: Final[Any] = json.loads("[" * 300 + "]" * 300)
# What a member's value is replaced with.
_VALUES: Final[tuple[Any, ...]] = (
    None,
    True,
    0,
    -1,
    1.5,
    2**31,
    2**63,
    10**30,
    1e308,
    "",
    " ",
    "\x00",
    "a\x00b",
    "\ud800",
    "\u202e\u0000\uffff",
    "x" * 70_000,
    "*",
    "'; DROP TABLE identities; --",
    "9999-12-31T23:59:59.9999999Z",
    "0000-00-00T00:00:00Z",
    "2020-01-01T00:00:00+99:99",
    "http://127.0.0.1:1/",
    "file:///etc/passwd",
    "../../x",
    [],
    {},
    [[]],
    {"$version": "x"},
    {"a.b": 1, "$c": 2},
    [None] * 1000,
    _DEEP,
)
_SEGMENTS: Final[tuple[str, ...]] = (
    "%00",
    "a%00b",
    "%2F",
    "..",
    "%2e%2e%2f",
    "%F0%9F%98%80",
    "%ED%A0%80",
    "%FF",
    "%",
    "%zz",
    "a" * 129,
    "a" * 3000,
    "a" * 9000,
    "%20",
    "'--",
    "$",
    "@",
    "null",
    "%E2%80%AE",
)
_QUERY_VALUES: Final[tuple[str, ...]] = (
    "",
    "-1",
    "0",
    "1e3",
    "99999999999999999999999",
    "%00",
    "%FF",
    "%ED%A0%80",
    "a" * 5000,
    "%27%20OR%201%3D1",
    "true",
    "[]",
    "2020-13-45",
    "%D9%A3",
)
_HEADER_LINES: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"if-match", b"*"),
    (b"if-match", b'"*"'),
    (b"if-match", b'W/"x"'),
    (b"if-match", b""),
    (b"if-match", b'"' + b"a" * 9000 + b'"'),
    (b"if-match", b'"a", "b"'),
    (b"if-match", b"\xff\x00\xfe"),
    (b"if-none-match", b"*"),
    (b"content-type", b"text/plain"),
    (b"content-type", b"application/json; charset=utf-16"),
    (b"content-type", b"application/json;;=;"),
    (b"content-type", b"multipart/form-data"),
    (b"content-type", b"\xff/\x00"),
    (b"content-encoding", b"gzip"),
    (b"content-encoding", b"identity, br"),
    (b"content-length", b"99999999999999999999"),
    (b"content-length", b"-1"),
    (b"content-length", b"abc"),
    (b"transfer-encoding", b"chunked"),
    (b"accept", b"application/xml"),
    (b"accept-encoding", b"gzip;q=x"),
    (b"accept-language", b"\xe2\x80\xae"),
    (b"expect", b"100-continue"),
    (b"x-ms-max-item-count", b"99999999999999999999"),
    (b"x-ms-max-item-count", b"-5"),
    (b"x-ms-max-item-count", b"1.5"),
    (b"x-ms-max-item-count", b"\xd9\xa3"),
    (b"x-ms-continuation", b"////"),
    (b"x-ms-continuation", b"AAAA" * 1000),
    (b"x-ms-continuation", b"\xff"),
    (b"last-event-id", b"99999999999999999999"),
    (b"last-event-id", b"\xc2\xb2"),
    (b"x-http-method-override", b"DELETE"),
    (b"range", b"bytes=0-1"),
    (b"host", b"evil.example"),
    (b"cookie", b"a=b;" * 500),
)


_PATIENCE_OF_BODY: Final = re.compile(rb'("connectTimeoutInSeconds"\s*:\s*)[0-9.eE+"]+')
_PATIENCE_OF_QUERY: Final = re.compile(rb"((?i:connectTimeoutInSeconds)=)[0-9]+")


@dataclass(frozen=True, slots=True)
class Sent:
    """A request, and the one that it was made from."""

    case: Case
    prepared: requests.PreparedRequest
    target: bytes
    headers: Headers
    body: bytes
    spoiled: str = ""


def generated(
    operation: Operation, count: int, *, names: Mapping[str, Sequence[str]], chance: random.Random
) -> Iterator[Sent]:
    """About `count` requests, half of them as the document wants them. `names` are ids of what is there."""
    for mode, share in ((GenerationMode.POSITIVE, count - count // 2), (GenerationMode.NEGATIVE, count // 2)):
        for case in _cases(operation, mode, share, chance):
            for name in case.path_parameters or {}:
                if name in names and chance.random() < 0.6:
                    case.path_parameters[name] = chance.choice(names[name])
            sent = _sent(case)
            if sent is not None:
                yield sent


def spoiled(sent: Sent, chance: random.Random) -> Sent:
    """`sent` with one thing wrong in it."""
    ways = [_other_body, _other_header, _other_segment, _other_query]
    if sent.body[:1] in (b"{", b"["):
        ways += [_other_member] * 4
    return chance.choice(ways)(sent, chance)


def impatient(sent: Sent) -> Sent:
    """`sent`, but without waiting for devices: nobody is going to connect."""
    body = _PATIENCE_OF_BODY.sub(rb"\g<1>0", sent.body)
    return replace(sent, body=body, target=_PATIENCE_OF_QUERY.sub(rb"\g<1>0", sent.target))


def _cases(operation: Operation, mode: GenerationMode, count: int, chance: random.Random) -> list[Case]:
    cases: list[Case] = []
    if count == 0:
        return cases

    @seed(chance.randrange(2**32))
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def collect(case: Case) -> None:
        cases.append(case)

    try:
        collect()
    except Unsatisfiable:
        # There is nothing in it that could be wrong: no parameter, no body.
        assert mode is GenerationMode.NEGATIVE, operation.label
    return cases


def _sent(case: Case) -> Sent | None:
    try:
        prepared = requests.Request(**_known(case.as_transport_kwargs(base_url=_BASE))).prepare()
    except (UnicodeError, requests.exceptions.RequestException):
        # What its client would not send, ours sends in `spoiled`.
        return None
    url = (prepared.url or "").removeprefix(_BASE)
    headers = [
        (name.encode("latin-1"), value if isinstance(value, bytes) else value.encode("latin-1", "replace"))
        for name, value in prepared.headers.items()
        # Whose it is, is the campaign's choice.
        if name.lower() != "authorization"
    ]
    body = prepared.body or b""
    if isinstance(body, str):
        body = body.encode("utf-8", "replace")
    assert isinstance(body, bytes), type(body)
    return Sent(case, prepared, url.encode(), headers, body)


def _known(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Of what schemathesis gives to a session, that which makes a request."""
    return {
        name: value
        for name, value in arguments.items()
        if name in ("method", "url", "headers", "files", "data", "json", "params", "cookies")
    }


# -- one thing wrong ---------------------------------------------------------------------------------------------------


def _other_body(sent: Sent, chance: random.Random) -> Sent:
    body = chance.choice(_BODIES)
    return replace(sent, body=body, spoiled=f"body {body[:40]!r} of {len(body)} bytes")


def _other_member(sent: Sent, chance: random.Random) -> Sent:
    """A member of the body, somewhere in it, with another value, another name, or gone."""
    try:
        document = json.loads(sent.body)
    except ValueError:
        return _other_body(sent, chance)
    document = copy.deepcopy(document)
    places = list(_places(document))
    if not places:
        return _other_body(sent, chance)
    container, key = chance.choice(places)
    way = chance.random()
    if way < 0.8:
        container[key] = copy.deepcopy(chance.choice(_VALUES))
    elif way < 0.9 and isinstance(container, dict):
        container[chance.choice(("", "\x00", "$x", "a.b", "x" * 3000, str(key).upper()))] = container.pop(key)
    else:
        del container[key]
    return replace(sent, body=json.dumps(document).encode(), spoiled=f"member {key!r}")


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in entries:
        yield value, key
        yield from _places(member)


def _other_header(sent: Sent, chance: random.Random) -> Sent:
    """One more or another, or one of those there are twice."""
    added = chance.choice(_HEADER_LINES)
    way = chance.random()
    if way < 0.3:
        added = (added[0], bytes(chance.randrange(256) for _ in range(chance.randrange(60))))
    kept = sent.headers if way < 0.6 else [each for each in sent.headers if each[0].lower() != added[0]]
    return replace(sent, headers=[*kept, added], spoiled=f"header {added[0]!r}: {added[1][:40]!r}")


def _other_segment(sent: Sent, chance: random.Random) -> Sent:
    path, mark, query = sent.target.decode().partition("?")
    segments = path.split("/")
    segment = chance.choice(_SEGMENTS)
    # The last ones are names more often than the first.
    at = max(1, len(segments) - 1 - int(abs(chance.gauss(0, 1.5))))
    segments[at] = segment
    return replace(sent, target=("/".join(segments) + mark + query).encode(), spoiled=f"segment {segment[:40]!r}")


def _other_query(sent: Sent, chance: random.Random) -> Sent:
    names = [each.name for each in sent.case.operation.query] or ["top"]
    extra = "&".join(
        f"{quote(chance.choice(names))}={chance.choice(_QUERY_VALUES)}" for _ in range(chance.randrange(1, 3))
    )
    path, _, query = sent.target.decode().partition("?")
    # With what there was and in place of it: a parameter that comes twice is a case of its own.
    query = f"{query}&{extra}" if query and chance.random() < 0.5 else extra
    return replace(sent, target=f"{path}?{query}".encode(), spoiled=f"query {extra[:60]!r}")
