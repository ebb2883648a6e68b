"""Forms of browsers, which anybody can send before anybody has signed in.

An input is a Content-Type, an Origin and the body, each behind a line feed.
"""

from __future__ import annotations

import asyncio
import atexit
import warnings
from collections.abc import Iterable
from functools import cache
from typing import Any, Final

from starlette.requests import Request

from moorage.errors import Refusal
from moorage.web.pages import NOBODY, Visit, check_same_site
from tests.fuzz.targets.model import Target, cut

__all__ = ["TARGETS"]


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    atexit.register(loop.close)
    return loop


async def _read(pieces: list[bytes], content_type: bytes, origin: bytes) -> tuple[dict[str, str], bytes] | None:
    waiting = iter(pieces)
    left = len(pieces)

    async def receive() -> dict[str, Any]:
        nonlocal left
        left -= 1
        return {"type": "http.request", "body": next(waiting, b""), "more_body": left > 0}

    headers = [(b"content-type", content_type), (b"origin", origin), (b"host", b"localhost:8080")]
    length = str(sum(map(len, pieces))).encode()
    scope = {"type": "http", "method": "POST", "headers": [*headers, (b"content-length", length)], "path": "/"}
    request = Request(scope, receive)
    try:
        try:
            check_same_site(request)
        except Refusal as refusal:
            assert refusal.reason == "page.foreign"
        visit = Visit(request, None, None, "auto", NOBODY)
        return await visit.form(), await visit.upload("certificate")
    except Refusal as refusal:
        assert refusal.reason in ("form.malformed", "form.size"), refusal
        return None
    finally:
        await request.close()


def _check(data: bytes) -> None:
    content_type, _, rest = data.partition(b"\n")
    origin, _, body = rest.partition(b"\n")
    with warnings.catch_warnings():
        # The file of a part that never ends is closed when nobody holds it any more, and not by starlette.
        warnings.simplefilter("ignore", ResourceWarning)
        for pieces in ([body], list(cut(body))):
            found = _loop().run_until_complete(_read(pieces, content_type, origin))
            for name, value in (found or ({}, b""))[0].items():
                # What a page shows again has to be text.
                (name + value).encode()


def _seeds() -> Iterable[bytes]:
    yield b"application/x-www-form-urlencoded\nhttps://localhost:8080\nuser=a%40b&password=%C3%BC+x&remember"
    yield (
        b'multipart/form-data; boundary=x\nnull\n--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nline-7\r\n'
        b'--x\r\nContent-Disposition: form-data; name="certificate"; filename="a.pem"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n\x00\xff\r\n--x--\r\n"
    )
    yield b"text/plain\n\nhello"


_WORDS: Final = (
    b"--x",
    b"--x--",
    b"\r\n",
    b"Content-Disposition: form-data; ",
    b'name="',
    b"; filename*=",
    b"boundary=",
    b"%",
)

TARGETS: Final = (Target("forms", _check, _seeds, _WORDS, 2048),)
