"""API tokens as values: what opens the Central API to a program (contract/central.md TOK-1 to TOK-5).

    SharedAccessSignature sr=<application id>&sig=<base64>&skn=<token id>&se=<seconds since 1970>

It has the shape of a SAS token and is none: nobody signs it anew, it is made once and shown once. `sig` is the
HMAC-SHA256 of the other three under a key of 256 random bits that is forgotten at once; what is kept is the SHA-256 of
the four together, so neither the database nor its backup can make a token.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple, NewType, Protocol
from urllib.parse import quote, unquote

from moorage.accounts.model import OrganizationId, RoleId, lasting_key
from moorage.errors import Invalid, Unauthenticated
from moorage.ids import HubId, Secret

__all__ = [
    "SCHEME",
    "ApiToken",
    "Presented",
    "TokenId",
    "TokenTable",
    "digest_of",
    "encode_token",
    "parse_presented",
    "parse_token_id",
]

TokenId = NewType("TokenId", str)

SCHEME: Final = "SharedAccessSignature"
# As a user's (ID-10).
_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,48}")
_SECONDS: Final = re.compile(r"[0-9]{1,12}")
_MAX_HEADER: Final = 1024
_FIELDS: Final = ("sr", "sig", "skn", "se")


def parse_token_id(text: str) -> TokenId:
    """Raises `Invalid` (`api_token.id`)."""
    if not _ID.fullmatch(text):
        raise Invalid("api_token.id", f"{text[:60]!r} is no name of a token: 1 to 48 letters, digits, - and _")
    return TokenId(text)


@dataclass(frozen=True, slots=True)
class ApiToken:
    """`digest` is that of the text, in hexadecimal; `created_by` is the actor's name."""

    hub: HubId
    token_id: TokenId
    role: RoleId
    organization: OrganizationId
    created: datetime
    expires: datetime
    digest: str
    created_by: str

    @property
    def key(self) -> str:
        return lasting_key("token", self.token_id, self.created)


class TokenTable(Protocol):
    def find(self, hub: HubId, token_id: TokenId) -> ApiToken | None: ...

    def all(self, hub: HubId) -> list[ApiToken]:
        """In the order of their names."""

    def put(self, token: ApiToken) -> None: ...

    def delete(self, hub: HubId, token_id: TokenId) -> None:
        """With what was its alone."""


class Presented(NamedTuple):
    """The four fields of a token as it comes in a header, decoded."""

    application_id: str
    signature: str
    token_id: str
    expiry: str


def encode_token(application_id: str, token_id: TokenId, expires: datetime, key: bytes) -> Secret:
    """The text of a new token, made with `key`."""
    expiry = str(int(expires.timestamp()))
    signed = "\n".join((application_id, token_id, expiry)).encode()
    signature = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    return Secret(
        f"{SCHEME} sr={quote(application_id, safe='')}&sig={quote(signature, safe='')}&skn={token_id}&se={expiry}"
    )


def parse_presented(header: str) -> Presented:
    """Raises `Unauthenticated` (`api_token.malformed`); what was sent is not repeated."""
    scheme, _, rest = header.strip().partition(" ")
    if scheme.casefold() != SCHEME.casefold() or len(rest) > _MAX_HEADER:
        raise Unauthenticated("api_token.malformed", f"an API token begins with '{SCHEME} sr='")
    found: dict[str, str] = {}
    for pair in rest.strip().split("&"):
        name, equals, value = pair.partition("=")
        if not equals or name not in _FIELDS or name in found:
            raise Unauthenticated("api_token.malformed", "an API token has sr, sig, skn and se, each of them once")
        found[name] = unquote(value, errors="replace")
    if len(found) != len(_FIELDS) or not _SECONDS.fullmatch(found["se"]):
        raise Unauthenticated("api_token.malformed", "an API token has sr, sig, skn and se, each of them once")
    return Presented(*(found[name] for name in _FIELDS))


def digest_of(presented: Presented) -> str:
    """What is kept of a token, in hexadecimal."""
    return hashlib.sha256("\n".join(presented).encode("utf-8", "replace")).hexdigest()
