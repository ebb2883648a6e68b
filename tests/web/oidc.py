"""A small OpenID Connect provider on a real socket: it knows one client, hands out codes, and signs what it is told.

`claims` are what it says of whoever signs in; `lies` changes the ID token afterwards, for providers that are wrong.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey

from moorage.clock import Clock
from tests.callees import Callee, Received, answer, callee

__all__ = ["CLIENT", "SECRET", "Provider", "provider"]

CLIENT = "moorage-tests"
SECRET = "what only the hub and the provider know"


@cache
def signing_key(name: str = "first") -> ECKey:
    return ECKey.generate_key("P-256", {"kid": name, "use": "sig", "alg": "ES256"})


@dataclass
class Provider:
    clock: Clock
    callee: Callee
    claims: dict[str, Any] = field(default_factory=lambda: {"sub": "4711", "preferred_username": "Grace"})
    lies: Callable[[dict[str, Any]], dict[str, Any]] = lambda token: token
    key: ECKey = field(default_factory=signing_key)
    published: list[ECKey] = field(default_factory=lambda: [signing_key()])
    forge: Callable[[dict[str, Any]], str] | None = None
    name: str = "plant"
    is_down: bool = False
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def issuer(self) -> str:
        return f"{self.callee.url}/{self.name}"

    def sign_in(self, url: str, **more: str) -> str:
        """What a person's browser does there: the address that it is sent back to."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT
        assert "openid" in asked["scope"].split()
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        return f"{urlsplit(asked['redirect_uri']).path}?code={code}&state={asked['state']}"

    async def respond(self, received: Received, writer: asyncio.StreamWriter) -> None:
        if self.is_down:
            return await answer(500)(received, writer)
        match received.method, urlsplit(received.target).path:
            case "GET", "/plant/.well-known/openid-configuration":
                document: Any = {
                    "issuer": self.issuer,
                    "authorization_endpoint": f"{self.issuer}/authorize",
                    "token_endpoint": f"{self.issuer}/token",
                    "jwks_uri": f"{self.issuer}/keys",
                }
            case "GET", "/plant/keys":
                document = {"keys": [{"kty": "unheard-of"}, *(key.as_dict(private=False) for key in self.published)]}
            case "POST", "/plant/token":
                return await self._exchange(received, writer)
            case _:
                return await answer(404)(received, writer)
        await answer(200, json.dumps(document).encode())(received, writer)

    async def _exchange(self, received: Received, writer: asyncio.StreamWriter) -> None:
        sent = {name: values[0] for name, values in parse_qs(received.body.decode()).items()}
        asked = self.codes.pop(sent["code"], None)
        verifier = (
            base64.urlsafe_b64encode(hashlib.sha256(sent["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        )
        basic = base64.b64decode(received.headers.get("authorization", "Basic ").partition(" ")[2]).decode()
        if basic != f"{CLIENT}:{SECRET.replace(' ', '%20')}":
            return await answer(401, b'{"error": "invalid_client"}')(received, writer)
        if asked is None or asked["code_challenge"] != verifier or asked["redirect_uri"] != sent["redirect_uri"]:
            return await answer(400, b'{"error": "invalid_grant"}')(received, writer)
        now = int(self.clock.now().timestamp())
        token = {
            "iss": self.issuer,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": asked["nonce"],
            **self.claims,
        }
        header = {"alg": "ES256", "kid": self.key.kid or ""}
        signed = self.forge(token) if self.forge else jwt.encode(header, self.lies(token), self.key)
        body = json.dumps({"access_token": "x", "token_type": "Bearer", "id_token": signed}).encode()
        await answer(200, body)(received, writer)


@asynccontextmanager
async def provider(clock: Clock) -> AsyncIterator[Provider]:
    made: list[Provider] = []

    async def respond(received: Received, writer: asyncio.StreamWriter) -> None:
        await made[0].respond(received, writer)

    async with callee(respond) as served:
        made.append(Provider(clock, served))
        yield made[0]
