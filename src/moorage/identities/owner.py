"""The owner of this hub: one random key kept by the caller in a 0600 file, and short-lived bearer tokens made from it.

It stands where Azure has Entra ID (decisions T11): the management API and our own documented API take nothing else. A
bearer is `moorage.<purpose>.<expiry>.<nonce>.<mac>`; the MAC is HMAC-SHA256 under the key over all before it. The
purpose keeps a token made for one place (a sign-in link) from opening another (the API). The key itself is accepted as
a bearer for the API, so that a script on the same machine needs no extra step.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import Literal

from moorage.errors import Invalid, Unauthenticated
from moorage.ids import Secret

__all__ = ["MAX_LIFETIME", "OwnerKey", "Purpose"]

Purpose = Literal["api", "sign-in"]

MAX_LIFETIME = timedelta(hours=24)
_KEY_PREFIX = "moorage-owner-"
_KEY_BYTES = 32
_BEARER = re.compile(
    r"moorage\.(?P<purpose>[a-z-]{1,20})\.(?P<expiry>[0-9]{1,11})\.[0-9a-f]{32}\.(?P<mac>[0-9a-f]{64})"
)
_FIX = "moorage token"


class OwnerKey:
    """The key, ready to make and judge bearers. Its text leaves only by `text()`."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        if len(key) != _KEY_BYTES:
            raise Invalid("owner_key.length", f"an owner key has {_KEY_BYTES} bytes, this has {len(key)}")
        self._key = key

    @classmethod
    def generate(cls) -> OwnerKey:
        return cls(secrets.token_bytes(_KEY_BYTES))

    @classmethod
    def parse(cls, text: str) -> OwnerKey:
        """Read what `text` gave. Raises `Invalid` (`owner_key.malformed`, `owner_key.length`), never quoting it."""
        body = text.strip()
        if not body.startswith(_KEY_PREFIX):
            raise Invalid("owner_key.malformed", f"an owner key begins with {_KEY_PREFIX!r}; this does not")
        try:
            key = base64.b64decode(body.removeprefix(_KEY_PREFIX) + "=", altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise Invalid("owner_key.malformed", "what follows the prefix of the owner key is not base64") from None
        return cls(key)

    def text(self) -> Secret:
        """One line for the key file."""
        return Secret(_KEY_PREFIX + base64.urlsafe_b64encode(self._key).decode().rstrip("="))

    def mint(self, purpose: Purpose, lifetime: timedelta, now: datetime) -> Secret:
        """A bearer for `purpose`. Raises `Invalid` (`bearer.lifetime`) beyond `MAX_LIFETIME`."""
        if not timedelta(0) < lifetime <= MAX_LIFETIME:
            raise Invalid("bearer.lifetime", f"a bearer lives up to {MAX_LIFETIME}, not {lifetime}", fix=_FIX)
        claim = f"moorage.{purpose}.{int((now + lifetime).timestamp())}.{secrets.token_hex(16)}"
        return Secret(f"{claim}.{self._mac(claim)}")

    def check(self, bearer: str, purpose: Purpose, now: datetime) -> datetime | None:
        """Judge a bearer for `purpose`; until when it holds, None for the key itself, which does not expire.

        Raises:
            Unauthenticated: `bearer.foreign` (not one of ours, such as a token of Entra ID or of a stub login),
                `bearer.signature`, `bearer.expired`, `bearer.purpose`.
        """
        given = bearer.encode(errors="replace")
        if purpose == "api" and hmac.compare_digest(given, self.text().reveal().encode()):
            return None
        match = _BEARER.fullmatch(bearer)
        if match is None:
            raise Unauthenticated(
                "bearer.foreign",
                "the bearer token was not made by this moorage; those of Entra ID and of stub logins open nothing here",
                fix=_FIX,
            )
        if not hmac.compare_digest(match["mac"], self._mac(bearer.rpartition(".")[0])):
            raise Unauthenticated(
                "bearer.signature", "the bearer token was made with another owner key, or was changed", fix=_FIX
            )
        expires = datetime.fromtimestamp(int(match["expiry"]), UTC)
        if now >= expires:
            raise Unauthenticated(
                "bearer.expired",
                f"the bearer token was valid until {expires:%Y-%m-%dT%H:%M:%SZ}, it is {now:%Y-%m-%dT%H:%M:%SZ}",
                fix=_FIX,
            )
        if match["purpose"] != purpose:
            raise Unauthenticated(
                "bearer.purpose", f"the bearer token is for {match['purpose']!r}, asked for is {purpose!r}", fix=_FIX
            )
        return expires

    def _mac(self, claim: str) -> str:
        return hmac.new(self._key, claim.encode(), hashlib.sha256).hexdigest()
