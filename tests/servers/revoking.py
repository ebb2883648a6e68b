"""A CA that publishes lists, a server that hands them out, and a responder that answers: for tests of revocation."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import h11
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp

from moorage.certificates.revocation import IssuerState
from moorage.pki.certificates import Certificate
from moorage.pki.list_issuing import issue_revocation_list
from moorage.pki.revocation_lists import Entry
from tests.certs import NOW, Issued
from tests.servers.world import World

__all__ = ["WEEK", "Answering", "add_list", "answer_of", "crl", "serving", "with_signers"]

WEEK = timedelta(days=7)


def crl(
    ca: Issued,
    *revoked: Issued,
    number: int = 1,
    now: datetime = NOW,
    life: timedelta = WEEK,
    reason: str = "keyCompromise",
) -> bytes:
    """DER of a complete list."""
    entries = {each.certificate.serial_number: Entry(now, reason) for each in revoked}
    return issue_revocation_list(ca.certificate, ca.key, entries, number=number, now=now, next_update=now + life)


def with_signers(der: bytes, *signers: Certificate) -> bytes:
    """PEM of a list, with certificates beside it."""
    above = "".join(signer.pem for signer in signers).encode()
    return above + b"-----BEGIN X509 CRL-----\n" + base64.encodebytes(der) + b"-----END X509 CRL-----\n"


async def add_list(world: World, content: bytes) -> IssuerState:
    """As the API does."""
    service = world.app.revocation.service
    async with service.turn:
        return await service.add(content, by="tests")


def answer_of(
    request: bytes,
    ca: Issued,
    *,
    revoked: Callable[[int], bool],
    now: datetime,
    life: timedelta = timedelta(hours=2),
) -> bytes:
    """What an honest responder with the CA's own key says."""
    question = ocsp.load_der_ocsp_request(request)
    is_revoked = revoked(question.serial_number)
    nonce = question.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce
    made = (
        ocsp.OCSPResponseBuilder()
        .add_response_by_hash(
            question.issuer_name_hash,
            question.issuer_key_hash,
            question.serial_number,
            question.hash_algorithm,
            ocsp.OCSPCertStatus.REVOKED if is_revoked else ocsp.OCSPCertStatus.GOOD,
            now,
            now + life,
            now - timedelta(hours=1) if is_revoked else None,
            x509.ReasonFlags.key_compromise if is_revoked else None,
        )
        .responder_id(ocsp.OCSPResponderEncoding.HASH, ca.certificate.x509)
        .add_extension(x509.OCSPNonce(nonce), critical=False)
        .sign(ca.key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.DER)


# Method, path, headers and body of a request to status, headers and body of its answer.
Answering = Callable[[str, str, dict[str, str], bytes], tuple[int, dict[str, str], bytes]]


@asynccontextmanager
async def serving(answer: Answering, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """An HTTP server on loopback; its URL without a slash behind."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER)
        request, body = None, b""
        try:
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    connection.receive_data(await reader.read(65536))
                elif isinstance(event, h11.Request):
                    request = event
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    break
                else:
                    return
            assert request is not None
            headers = {name.decode(): value.decode() for name, value in request.headers}
            status, more, content = answer(request.method.decode(), request.target.decode(), headers, body)
            head = [*more.items(), ("content-length", str(len(content))), ("connection", "close")]
            writer.write(connection.send(h11.Response(status_code=status, headers=head)) or b"")
            writer.write(connection.send(h11.Data(data=content)) or b"")
            writer.write(connection.send(h11.EndOfMessage()) or b"")
            await writer.drain()
        except ConnectionError:
            # The hub hung up.
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, host, 0)
    try:
        yield f"http://{host}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()
