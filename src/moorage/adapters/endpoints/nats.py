"""A NATS server: each message on a subject, under the one policy for calls out (`adapters/egress_policy.py`).

    nats://broker.example:4222      TLS when the server asks for it; without TLS only where `egress_allow` names it
    tls://broker.example:4222       TLS always

The subject is the option `subject`, `moorage.{device}` when there is none; a device id is put in place of `{device}`,
with what a subject cannot hold percent-encoded. With the option `jetstream=yes` a message counts as taken when a stream
has stored it; otherwise when the server has answered a ping behind it, which says that it was read and nothing more. A
message that is larger than the server takes is refused.

The credential is a token, or `user:password`. Servers that this one names are not followed: nobody asked for them.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from moorage.adapters.egress import Egress
from moorage.errors import Invalid, Unavailable
from moorage.hub.router import Outgoing, Refused
from moorage.hub.routing_model import Endpoint

if TYPE_CHECKING:
    from nats.aio.client import Client

__all__ = ["NatsSink", "check_nats"]

_PORT: Final = 4222
_PATIENCE_S: Final = 10.0
_SUBJECT: Final = re.compile(r"[^\s*>]{1,250}")


def check_nats(endpoint: Endpoint, egress: Egress) -> None:
    """Raises `Invalid` (`endpoint.address`, `egress.not_allowed`)."""
    host, port, with_tls = _place(endpoint)
    egress.check_host(host, port, with_tls=with_tls)


class NatsSink:
    """Port: `hub.router.Sink`; keeps one connection."""

    linger_s = 0.0

    def __init__(self, endpoint: Endpoint, egress: Egress, ca_bundle: Path | None = None) -> None:
        self._endpoint = endpoint
        self._egress = egress
        self._ca_bundle = ca_bundle
        self._client: Client | None = None
        self._failure = ""

    async def deliver(self, messages: Sequence[Outgoing]) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S * 2):
                client = await self._connected()
                if self._endpoint.options.get("jetstream") == "yes":
                    stream = client.jetstream(timeout=_PATIENCE_S)
                    await asyncio.gather(*(stream.publish(self._subject(each), each.document) for each in messages))
                    return
                for each in messages:
                    await client.publish(self._subject(each), each.document)
                await client.flush(timeout=int(_PATIENCE_S))
        except Exception as error:
            from nats.errors import MaxPayloadError

            if isinstance(error, MaxPayloadError):
                # Of several the caller tries each alone; this one would be in the way of all others for ever.
                raise Refused(
                    "endpoint.refused", f"endpoint '{self._endpoint.name}' takes no message as large as this"
                ) from error
            await self.close()
            if isinstance(error, (Invalid, Unavailable)):
                raise
            why = f"{str(error) or type(error).__name__} {self._failure}"
            raise Unavailable(
                "endpoint.failed", f"endpoint '{self._endpoint.name}' took nothing: {why[:200]}"
            ) from error

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _subject(self, message: Outgoing) -> str:
        template = self._endpoint.options.get("subject", "moorage.{device}")
        # A dot would begin a new token; what is left of quote's reach is no wildcard.
        device = quote(message.device_id or "hub", safe="").replace(".", "%2E")
        subject = template.replace("{device}", device)
        if not _SUBJECT.fullmatch(subject):
            raise Invalid("endpoint.option", f"{subject[:80]!r} is no subject to publish on")
        return subject

    async def _connected(self) -> Client:
        if self._client is not None and self._client.is_connected:
            return self._client
        from nats.aio.client import Client

        await self.close()
        host, port, with_tls = _place(self._endpoint)
        (address, *_) = await self._egress.permitted(host, port, with_tls=with_tls)
        shown = f"[{address}]" if address.version == 6 else str(address)
        client = Client()
        await client.connect(
            servers=[f"{'tls' if with_tls else 'nats'}://{shown}:{port}"],
            allow_reconnect=False,
            # Else it goes on dialing by itself; two tries is the least that it knows.
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=int(_PATIENCE_S),
            name="moorage",
            error_cb=self._heard,
            tls=await asyncio.to_thread(self._context) if with_tls else None,
            tls_hostname=host if with_tls else None,
            **self._credential(),
        )
        self._client = client
        return client

    async def _heard(self, error: Exception) -> None:
        """Out of the call that fails comes no more than that there are no servers."""
        self._failure = str(error) or type(error).__name__

    def _credential(self) -> dict[str, Any]:
        text = self._endpoint.credential.reveal()
        user, colon, password = text.partition(":")
        if colon:
            return {"user": user, "password": password}
        return {"token": text} if text else {}

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self._ca_bundle is not None:
            context.load_verify_locations(self._ca_bundle)
        return context


def _place(endpoint: Endpoint) -> tuple[str, int, bool]:
    """Host, port and whether TLS is sure. Raises `Invalid` (`endpoint.address`)."""
    try:
        parts = urlsplit(endpoint.address.reveal())
        host, port = parts.hostname, parts.port or _PORT
    except ValueError:
        host, port = None, _PORT
    if host is None or parts.scheme not in ("nats", "tls"):
        raise Invalid("endpoint.address", "a NATS server is at nats://host:4222 or tls://host:4222")
    return host, port, parts.scheme == "tls"
