"""SAS tokens: `SharedAccessSignature sr=...&sig=...&se=...[&skn=...]`, read, signed and judged (services.md 1.1).

A token is a claim until `check_signature` has passed: parsing proves nothing. The signature covers `sr` and `se` as
they stand in the token (A-2), so both are kept as text beside their meaning. Judging is split, because the caller knows
where the keys are and what is asked for: `check_expiry`, `check_signature`, and one of the two below.

Two kinds of audience. A token signed with an *identity's own key* names that identity, is compared without case (IoT
Edge lower-cases the whole resource before signing, decisions T8) and may go on below it (`.../api-version=...`):
`check_identity_audience`. A token signed with a *policy key* names a prefix, by whole segments, of what it opens (A-5),
and only its host is folded: `check_policy_audience`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote

from moorage.errors import Invalid, Unauthenticated
from moorage.ids import IdentityName, Secret

__all__ = [
    "CLOCK_SKEW",
    "MAX_TOKEN_CHARS",
    "SCHEME",
    "Audience",
    "SasToken",
    "check_expiry",
    "check_identity_audience",
    "check_policy_audience",
    "check_signature",
    "identity_path",
    "key_bytes",
    "make_token",
    "parse_audience",
    "parse_token",
    "session_end",
    "sign",
]

SCHEME = "SharedAccessSignature"
# The documentation of Azure names five minutes as the threshold beyond which a device's clock is in trouble.
CLOCK_SKEW = timedelta(minutes=5)
# A device id and a module id of 128 characters each, every one percent-encoded, fit four times over.
MAX_TOKEN_CHARS = 4096
_EXPIRY = re.compile(r"[0-9]{1,15}")
_URL_SCHEME = re.compile(r"\A[A-Za-z][A-Za-z0-9+.-]{0,20}://")
# 9999-12-31T00:00:00Z. Tokens that "never" end, or give milliseconds, end here.
_LAST_SECOND = 253_402_214_400
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class SasToken:
    """A parsed token, not yet judged. `resource` and `expiry` are `sr` and `se` exactly as they stand in it."""

    resource: str
    signature: str
    expiry: str
    policy: str | None

    @property
    def expires(self) -> datetime:
        return datetime.fromtimestamp(min(int(self.expiry), _LAST_SECOND), UTC)


@dataclass(frozen=True, slots=True)
class Audience:
    """What `sr` names: the host in lower case without port and brackets, and the path in whole segments."""

    host: str
    path: tuple[str, ...]

    def __str__(self) -> str:
        return "/".join((self.host, *self.path))


def parse_token(text: str) -> SasToken:
    """Read a token, its fields in any order (A-1).

    Raises:
        Unauthenticated: `token.malformed`. The message names the field and holds no signature.
    """
    if len(text) > MAX_TOKEN_CHARS:
        raise _malformed(f"it has {len(text)} characters, {MAX_TOKEN_CHARS} are allowed")
    scheme, _, rest = text.strip().partition(" ")
    if scheme.lower() != SCHEME.lower():
        raise _malformed(f"it does not begin with {SCHEME!r} and a space")
    fields: dict[str, str] = {}
    for pair in rest.strip().split("&"):
        name, equals, value = pair.partition("=")
        if not equals:
            raise _malformed("one of its parts, which are separated by '&', has no '='")
        if name in fields:
            raise _malformed(f"the field {name[:20]!r} occurs twice")
        fields[name] = value
    for name in ("sr", "sig", "se"):
        if not fields.get(name):
            raise _malformed(f"the field {name!r} is missing")
    if not _EXPIRY.fullmatch(fields["se"]):
        raise _malformed(f"'se' is whole seconds since 1970, not {fields['se'][:40]!r}")
    return SasToken(fields["sr"], unquote(fields["sig"]), fields["se"], unquote(fields.get("skn", "")) or None)


def sign(resource: str, expiry: str, key: bytes) -> str:
    """Base64 of the HMAC-SHA256 over both texts as they will stand in the token (A-2)."""
    digest = hmac.digest(key, f"{resource}\n{expiry}".encode(errors="surrogatepass"), hashlib.sha256)
    return base64.b64encode(digest).decode()


def key_bytes(key: Secret) -> bytes:
    """What a base64 key of the hub or of DPS signs with (A-3).

    Raises:
        Invalid: `key.base64`; the key is not shown.
    """
    try:
        return base64.b64decode(key.reveal(), validate=True)
    except (binascii.Error, ValueError):
        raise Invalid("key.base64", "a shared access key is base64 text; this one cannot be decoded") from None


def make_token(resource: str, key: Secret, expires: datetime, policy: str | None = None) -> Secret:
    """A token for `resource` (`host/devices/d`, unencoded), signed with the base64 `key`. Raises `Invalid`."""
    sr = quote(resource, safe="")
    se = str(int(expires.timestamp()))
    token = f"{SCHEME} sr={sr}&sig={quote(sign(sr, se, key_bytes(key)), safe='')}&se={se}"
    return Secret(token if policy is None else f"{token}&skn={quote(policy, safe='')}")


def check_expiry(token: SasToken, now: datetime) -> None:
    """Raises `Unauthenticated` (`token.expired`), `CLOCK_SKEW` after `se` (A-7)."""
    if now > token.expires + CLOCK_SKEW:
        raise Unauthenticated(
            "token.expired",
            f"the token was valid until {token.expires:%Y-%m-%dT%H:%M:%SZ}, it is {now:%Y-%m-%dT%H:%M:%SZ} now and "
            f"{int(CLOCK_SKEW.total_seconds() // 60)} minutes of skew are allowed",
            fix="check the clock of whoever made the token, or make a fresh one",
        )


def session_end(token: SasToken, now: datetime) -> datetime:
    """When a connection that this token opened ends: at `se`, or after the skew for one that came in by it."""
    return token.expires if token.expires > now else token.expires + CLOCK_SKEW


def check_signature(token: SasToken, keys: Iterable[bytes], whose: str) -> int:
    """Compare with every one of `keys`, each in constant time (A-9); the place among them of the one that signed.

    Raises:
        Unauthenticated: `token.signature`. `whose` says whose keys they are; no key and no signature is shown.
    """
    given = token.signature.encode(errors="surrogatepass")
    matched = -1
    for place, key in enumerate(keys):
        if hmac.compare_digest(given, sign(token.resource, token.expiry, key).encode()):
            matched = place
    if matched < 0:
        raise Unauthenticated(
            "token.signature",
            f"the token for {token.resource[:_SHOWN]!r} is signed with neither the primary nor the secondary key of "
            f"{whose}",
            fix="take the key again from where it is kept; it is base64, to be decoded before signing",
        )
    return matched


def parse_audience(resource: str) -> Audience:
    """What `sr` means, once its signature matches (A-5): decoded once, without scheme and port, host in lower case."""
    # Only at the start is it a scheme: an id may hold the same characters, percent-encoded.
    text = _URL_SCHEME.sub("", unquote(resource))
    host, _, path = text.partition("/")
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    else:
        host = host.partition(":")[0]
    return Audience(host.lower(), tuple(part for part in path.split("/") if part))


def identity_path(name: IdentityName) -> tuple[str, ...]:
    """`devices/{d}` or `devices/{d}/modules/{m}`, in segments."""
    path = ("devices", str(name.device_id))
    return path if name.module_id is None else (*path, "modules", str(name.module_id))


def check_identity_audience(token: SasToken, hosts: Collection[str], name: IdentityName) -> None:
    """A token signed with the own key of `name` has to name it; case is not compared. `hosts` are in lower case.

    Raises:
        Unauthenticated: `token.audience`, with both audiences.
    """
    audience = parse_audience(token.resource)
    wanted = identity_path(name)
    folded = tuple(part.lower() for part in audience.path)
    if audience.host not in hosts or not _at_or_below(folded, tuple(part.lower() for part in wanted)):
        raise _wrong_audience(audience, hosts, wanted)


def check_policy_audience(token: SasToken, hosts: Collection[str], path: tuple[str, ...]) -> None:
    """A token signed with a policy's key opens what it names and all below, compared with case (A-5).

    `hosts` are in lower case.

    Raises:
        Unauthenticated: `token.audience`, with both audiences.
    """
    audience = parse_audience(token.resource)
    named = audience.path
    if path[1:2] == ("ConsumerGroups",) and path[:1] not in (("devices",), ("twins",)):
        # Clients of Event Hubs write these words as they like; what they name is compared as it is.
        named = tuple(
            word if place in (1, 3) and word.lower() == part.lower() else part
            for place, (part, word) in enumerate(zip(named, (*path, *named[len(path) :]), strict=False))
        )
    if audience.host not in hosts or named != path[: len(named)]:
        raise _wrong_audience(audience, hosts, path)


def _at_or_below(path: tuple[str, ...], root: tuple[str, ...]) -> bool:
    """Whether `path` is `root` or something of its own; a device's modules are not its own."""
    below = path[len(root) :]
    return path[: len(root)] == root and not (len(root) == 2 and below[:1] == ("modules",))


def _wrong_audience(audience: Audience, hosts: Collection[str], path: tuple[str, ...]) -> Unauthenticated:
    named = str(audience)[:_SHOWN]
    if audience.host not in hosts:
        known = ", ".join(sorted(hosts)) or "no host name at all"
        message = f"the token is for host {audience.host[:_SHOWN]!r} ({named!r}), this hub is known as {known}"
        fix = "start moorage with --hostname for every name that clients use, or make the token for one of these"
    else:
        message = f"the token is for {named!r}, asked for is {'/'.join((audience.host, *path))[:_SHOWN]!r}"
        fix = "make the token for what is asked for"
    return Unauthenticated("token.audience", message, fix=fix)


def _malformed(why: str) -> Unauthenticated:
    return Unauthenticated(
        "token.malformed", f"this is not a SAS token: {why}", fix=f"send '{SCHEME} sr=...&sig=...&se=...'"
    )
