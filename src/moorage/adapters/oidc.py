"""An OpenID Connect provider, spoken to over our own way out (port: `accounts.single_sign_on.Provider`).

    issuer/.well-known/openid-configuration ──► endpoints, for an hour ──► keys, again when a token names an unknown one

Discovery, the token endpoint and the keys are outbound calls like all others (decisions T12). An ID token has to be
signed with an asymmetric key of the provider, be for us, carry the nonce of this sign-in and be within its time. What a
provider answers, or a token holds, is never repeated whole.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import OpenIDProviderMetadata
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from moorage.adapters.egress import Answer, Egress, Limits
from moorage.clock import Clock
from moorage.errors import Invalid, Refusal, Unauthenticated, Unavailable
from moorage.ids import Secret

__all__ = ["OpenIDProvider", "read_secret"]

_ALGORITHMS: Final = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
)
_LIMITS: Final = Limits(total_s=10, request_bytes=64 * 1024, response_bytes=512 * 1024)
_DISCOVERY_S: Final = 3600.0
# Whoever sends tokens with made-up key names must not make us ask for keys each time.
_KEYS_EVERY_S: Final = 60.0
# A provider that failed is left alone for so long: whoever is not signed in can make us ask.
_PAUSE_S: Final = 5.0
_LEEWAY_S: Final = 60
_MAX_KEYS: Final = 100
_SCOPES: Final = "openid profile email"


def read_secret(path: Path | None) -> Secret | None:
    """The first line of a file. Raises `Invalid` (`oidc.secret`)."""
    if path is None:
        return None
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid("oidc.secret", f"{path} cannot be read: {error}") from error
    if not lines or not lines[0].strip():
        raise Invalid("oidc.secret", f"{path} has nothing on its first line")
    return Secret(lines[0].strip())


@dataclass(frozen=True, slots=True)
class _Endpoints:
    authorization: str
    token: str
    keys: str
    # Whether the secret goes into the body, where the provider takes it there alone (RFC 6749 2.3.1).
    is_posted: bool
    at: float


class OpenIDProvider:
    """`secret` is None for a client that has none."""

    def __init__(
        self, egress: Egress, clock: Clock, *, issuer: str, client_id: str, secret: Secret | None = None
    ) -> None:
        self._egress = egress
        self._clock = clock
        self._issuer = issuer
        self._client_id = client_id
        self._secret = secret
        self._endpoints: _Endpoints | None = None
        self._keys: tuple[float, KeySet] | None = None
        self._failure: tuple[float, Unavailable] | None = None
        self._asking = asyncio.Lock()

    @property
    def name(self) -> str:
        return urlsplit(self._issuer).hostname or self._issuer

    @property
    def issuer(self) -> str:
        return self._issuer

    async def start(self, back: str, state: str, nonce: str, verifier: str) -> str:
        """Raises `Unavailable` (`oidc.provider`)."""
        endpoints = await self._discovered()
        query = urlencode(
            {
                "response_type": "code",
                "client_id": self._client_id,
                "redirect_uri": back,
                "scope": _SCOPES,
                "state": state,
                "nonce": nonce,
                "code_challenge": create_s256_code_challenge(verifier),
                "code_challenge_method": "S256",
            }
        )
        return f"{endpoints.authorization}{'&' if '?' in endpoints.authorization else '?'}{query}"

    async def finish(self, back: str, code: str, nonce: str, verifier: str) -> Mapping[str, Any]:
        """Raises `Unavailable` (`oidc.provider`), `Unauthenticated` (`oidc.denied`, `oidc.token`)."""
        endpoints = await self._discovered()
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": back,
            "code_verifier": verifier,
            "client_id": self._client_id,
        }
        headers = [("content-type", "application/x-www-form-urlencoded"), ("accept", "application/json")]
        if self._secret is not None and endpoints.is_posted:
            fields["client_secret"] = self._secret.reveal()
        elif self._secret is not None:
            pair = f"{quote(self._client_id, safe='')}:{quote(self._secret.reveal(), safe='')}"
            headers.append(("authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"))
        answer = await self._call("POST", endpoints.token, headers=headers, body=urlencode(fields).encode())
        document = _object(answer)
        if answer.status != 200:
            said = document.get("error") if document else None
            raise Unauthenticated(
                "oidc.denied",
                f"{self.name} did not take the code: status {answer.status}"
                + (f", {said[:80]!r}" if isinstance(said, str) else ""),
            )
        token = (document or {}).get("id_token")
        if not isinstance(token, str):
            raise Unauthenticated("oidc.token", f"{self.name} answered without an ID token")
        return await self._verified(token, nonce, (document or {}).get("access_token"))

    async def _verified(self, token: str, nonce: str, access_token: object) -> Mapping[str, Any]:
        try:
            keys = await self._keys_for(token)
            # Some ten signatures' worth of time at most, but RSA keys may be large.
            decoded = await asyncio.to_thread(jwt.decode, token, keys, list(_ALGORITHMS))
            claims = CodeIDToken(
                decoded.claims,
                decoded.header,
                options={
                    "iss": {"essential": True, "value": self._issuer},
                    "aud": {"essential": True, "value": self._client_id},
                },
                params={
                    "nonce": nonce,
                    "client_id": self._client_id,
                    **({"access_token": access_token} if isinstance(access_token, str) else {}),
                },
            )
            claims.validate(now=int(self._clock.now().timestamp()), leeway=_LEEWAY_S)
        except (JoseError, ValueError, TypeError, KeyError, RecursionError) as error:
            what = getattr(error, "error", "") or type(error).__name__
            claim = getattr(error, "claim", None)
            told = f"{what} of {claim}" if isinstance(claim, str) else what
            raise Unauthenticated("oidc.token", f"the ID token of {self.name} is not good: {told[:120]}") from None
        return dict(claims)

    async def _keys_for(self, token: str) -> KeySet:
        """The provider's keys, those that the token may have been signed with alone."""
        kid = _header(token).get("kid")
        keys = await self._known_keys()
        found = [key for key in keys.keys if kid is None or key.kid == kid]
        if not found:
            keys = await self._known_keys(must_have=str(kid))
            found = [key for key in keys.keys if key.kid == kid]
        if len(found) != 1:
            raise Unauthenticated(
                "oidc.token",
                f"the ID token of {self.name} is signed with a key that is not one of its {len(keys.keys)}",
            )
        return KeySet(found)

    async def _known_keys(self, *, must_have: str | None = None) -> KeySet:
        endpoints = await self._discovered()
        async with self._asking:
            now = self._clock.monotonic()
            known = self._keys
            age = _DISCOVERY_S if known is None else now - known[0]
            if known is not None and age < (_DISCOVERY_S if must_have is None else _KEYS_EVERY_S):
                return known[1]
            document = _object(await self._got(endpoints.keys))
            listed = (document or {}).get("keys")
            if not isinstance(listed, list) or len(listed) > _MAX_KEYS:
                raise self._failed("its key set cannot be read")
            keys = []
            for each in listed:
                try:
                    keys += KeySet.import_key_set({"keys": [each]}).keys
                except (JoseError, ValueError, TypeError, KeyError):
                    # A kind of key that we do not know signs nothing that we take.
                    continue
            self._keys = now, KeySet(keys)
            return self._keys[1]

    async def _discovered(self) -> _Endpoints:
        async with self._asking:
            now = self._clock.monotonic()
            if self._endpoints is not None and now - self._endpoints.at < _DISCOVERY_S:
                return self._endpoints
            if self._failure is not None and now - self._failure[0] < _PAUSE_S:
                raise self._failure[1]
            try:
                self._endpoints = await self._discover(now)
            except Unavailable as refusal:
                self._failure = self._clock.monotonic(), refusal
                raise
            return self._endpoints

    async def _discover(self, now: float) -> _Endpoints:
        document = _object(await self._got(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"))
        metadata = OpenIDProviderMetadata(document or {})
        try:
            metadata.validate_issuer()
            metadata.validate_authorization_endpoint()
            metadata.validate_token_endpoint()
            metadata.validate_jwks_uri()
        except ValueError as error:
            raise self._failed(f"its configuration is not good: {str(error)[:200]}") from None
        if metadata["issuer"] != self._issuer:
            raise self._failed(f"it calls itself {str(metadata['issuer'])[:200]!r}, not {self._issuer!r}")
        methods = metadata.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        return _Endpoints(
            metadata["authorization_endpoint"],
            metadata["token_endpoint"],
            metadata["jwks_uri"],
            "client_secret_basic" not in methods,
            now,
        )

    async def _got(self, url: str) -> Answer:
        answer = await self._call("GET", url, headers=[("accept", "application/json")])
        if answer.status != 200:
            raise self._failed(f"it answered {answer.status}")
        return answer

    async def _call(self, method: str, url: str, *, headers: list[tuple[str, str]], body: bytes = b"") -> Answer:
        try:
            return await self._egress.request(method, url, headers=headers, body=body, limits=_LIMITS)
        except Refusal as refusal:
            raise self._failed(f"{refusal.reason}: {refusal.message}", fix=refusal.fix) from refusal

    def _failed(self, why: str, *, fix: str = "") -> Unavailable:
        return Unavailable("oidc.provider", f"{self.name} cannot be asked who you are: {why}", fix=fix)


def _object(answer: Answer) -> dict[str, Any] | None:
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _header(token: str) -> dict[str, Any]:
    """Of a signed token, unverified. Raises `ValueError`."""
    text = token.partition(".")[0]
    value = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    if not isinstance(value, dict):
        raise ValueError("the header of a token is an object")
    return value
