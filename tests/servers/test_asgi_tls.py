"""What an application is told of TLS, in the form of the ASGI TLS extension."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from moorage.servers.http import HTTPParts, HTTPStream
from tests import certs
from tests.servers.clients import tls_context
from tests.servers.http_clients import RawHTTP
from tests.servers.world import World


async def told(world: World, context: ssl.SSLContext) -> tuple[dict[str, Any], ssl.SSLSocket]:
    """`scope["extensions"]["tls"]` of a request, and the client's view of the same connection."""
    seen: list[dict[str, Any]] = []

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        seen.append(scope["extensions"]["tls"])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    door = world.app.listeners.doors[-1]
    before, door.handler = door.handler, lambda stream: HTTPStream(HTTPParts(app, world.clock, 0), stream)
    try:
        async with RawHTTP(world, context) as http:
            for _ in range(2):
                http.ask("GET", "/")
                assert (await http.response()).status == 204
            socket = http.writer.get_extra_info("ssl_object")
            assert seen[0] is seen[1]
            return seen[0], socket
    finally:
        door.handler = before


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_chain_is_handed_on_and_said_to_be_unjudged(world: World, version: ssl.TLSVersion) -> None:
    issued = certs.device(certs.root("Plant"), "pump-01")
    bundle = world.app.info().ca_bundle
    tls, socket = await told(world, tls_context(bundle, issued, version=version))
    assert tls["client_cert_chain"][0] == issued.certificate.pem
    assert tls["client_cert_name"] == "CN=pump-01"
    assert "not validated" in tls["client_cert_error"]
    assert tls["tls_version"] == {ssl.TLSVersion.TLSv1_2: 0x0303, ssl.TLSVersion.TLSv1_3: 0x0304}[version]
    assert ssl.PEM_cert_to_DER_cert(tls["server_cert"]) == socket.getpeercert(binary_form=True)
    cipher = socket.cipher()
    assert cipher is not None
    codes = {each["name"]: each["id"] & 0xFFFF for each in tls_context(bundle).get_ciphers()}
    assert tls["cipher_suite"] == codes[cipher[0]]


async def test_without_a_certificate_nothing_is_wrong(world: World) -> None:
    tls, _ = await told(world, tls_context(world.app.info().ca_bundle))
    assert (tls["client_cert_chain"], tls["client_cert_name"], tls["client_cert_error"]) == ((), None, None)
