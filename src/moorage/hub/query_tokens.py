"""Continuation tokens: where the next page begins, bound to the query that it continues (contract/services.md Q-2).

A token opens nothing that its query does not, so it is not secret and needs no key; it outlives a restart and is the
same for every app on one store. Its digest over hub, text and position tells one that was made up, cut off, or given
for another query from one of ours.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

from moorage.errors import Invalid
from moorage.hub.query_rows import Key
from moorage.ids import HubId

__all__ = ["Resume", "encode_token", "parse_token"]

_DIGEST_BYTES: Final = 12
_MAX_CHARS: Final = 4096
_MAX_KEY_PARTS: Final = 4
_MAX_NUMBER: Final = 10**9


@dataclass(frozen=True, slots=True)
class Resume:
    """Rows go on behind the key `after`, groups at number `offset`; `remaining` of what `TOP` allows are left."""

    after: Key | None = None
    offset: int = 0
    remaining: int | None = None


def encode_token(resume: Resume, hub: HubId, text: str) -> str:
    """Printable ASCII without padding."""
    position = json.dumps([resume.after, resume.offset, resume.remaining], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_digest(hub, text, position) + position).rstrip(b"=").decode()


def parse_token(token: str, hub: HubId, text: str) -> Resume:
    """Raises `Invalid` (`query.continuation`)."""
    try:
        if len(token) > _MAX_CHARS:
            raise ValueError
        data = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), b"-_", validate=True)
        position = data[_DIGEST_BYTES:]
        if data[:_DIGEST_BYTES] != _digest(hub, text, position):
            raise ValueError
        return _resume(*json.loads(position))
    except (ValueError, TypeError, RecursionError):
        raise Invalid(
            "query.continuation",
            "this continuation token was not given by this hub for this query; both are sent back as they were",
            fix="begin again without x-ms-continuation",
        ) from None


def _resume(after: Any, offset: Any, remaining: Any) -> Resume:
    """Whoever computes the digest can write anything; raises ValueError or TypeError for what we never do."""
    if after is not None:
        after = tuple(after)
        if not 0 < len(after) <= _MAX_KEY_PARTS or not all(isinstance(part, str) for part in after):
            raise ValueError
        "".join(after).encode()
    for number in (offset, remaining):
        if number is not None and (type(number) is not int or not 0 <= number <= _MAX_NUMBER):
            raise ValueError
    if offset is None or remaining == 0:
        raise ValueError
    return Resume(after, offset, remaining)


def _digest(hub: HubId, text: str, position: bytes) -> bytes:
    whole = hashlib.sha256()
    for part in (b"moorage query 1", hub.encode(), text.encode("utf-8", "surrogatepass"), position):
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.digest()[:_DIGEST_BYTES]
