"""The TLS engine against the standard library's client: any certificate, any cut of the bytes, nothing resumed."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from datetime import timedelta

import pytest
from cryptography.hazmat.bindings.openssl.binding import Binding
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL

from moorage.errors import RemoteProtocolError
from moorage.protocols.tls.engine import MAX_HANDSHAKE_BYTES, TLSEngine, make_context
from tests import certs
from tests.protocol.tls.ends import VERSIONS, Pair, client_context, server_context

versions = pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)


def weak() -> certs.Issued:
    key = certs.weak_rsa_key()
    return certs.Issued(certs.odd("pump-01", key=key), key)


CLIENTS: dict[str, Callable[[], certs.Issued]] = {
    "self-signed": certs.self_signed,
    "unknown CA": lambda: certs.device(certs.intermediate(certs.root("Nobody knows"))),
    "expired": lambda: certs.device(
        certs.root(), now=certs.NOW - timedelta(days=9), lifetime=timedelta(days=2), label="old"
    ),
    "RSA of 1024 bits": weak,
    "RSA of 2048 bits": lambda: certs.self_signed(kind="rsa-2048"),
    "P-384": lambda: certs.self_signed(kind="ec-p384"),
    "a CA": lambda: certs.root("I am a CA"),
}


@versions
@pytest.mark.parametrize("name", CLIENTS)
def test_any_certificate_gets_through_the_handshake_exactly_as_sent(name: str, version: ssl.TLSVersion) -> None:
    issued = CLIENTS[name]()
    pair = Pair(client_context(issued, version=version)).shake_hands()
    assert pair.engine.peer_certificates() == issued.sends().certificates
    assert pair.engine.server_name == "localhost"
    assert pair.engine.version == pair.client.version()


@versions
def test_no_certificate_gets_through_as_well(version: ssl.TLSVersion) -> None:
    pair = Pair(client_context(version=version)).shake_hands()
    assert pair.engine.peer_certificates() == ()
    pair.deliver(pair.say(b"hello"))
    assert pair.heard == b"hello"
    assert pair.hear(pair.engine.send(b"and back")) == b"and back"


def test_tls_1_1_is_refused() -> None:
    context = client_context()
    with pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    pair = Pair(context)
    with pytest.raises(RemoteProtocolError, match="unsupported protocol") as caught:
        pair.shake_hands()
    assert caught.value.reason == "tls.handshake"


# X509_verify_cert's word for "I have not verified the leaf, for I have no issuer of it" (openssl-verification-options).
UNABLE_TO_VERIFY_LEAF_SIGNATURE = 21


def errors_of_a_handshake(depth: int | None) -> list[tuple[int, int]]:
    """What OpenSSL tells its verify callback of a leaf sent with its issuer: (error, depth in the chain)."""
    binding = Binding()
    told: list[tuple[int, int]] = []

    @binding.ffi.callback("int (*)(int, X509_STORE_CTX *)")  # type: ignore[untyped-decorator]  # cffi has no types
    def listen(_ok: int, store: object) -> int:
        lib = binding.lib
        told.append((lib.X509_STORE_CTX_get_error(store), lib.X509_STORE_CTX_get_error_depth(store)))
        return 1

    server = certs.self_signed("localhost")
    context = make_context([server.certificate.x509], server.key)
    binding.lib.SSL_CTX_set_verify(context._context, SSL.VERIFY_PEER, listen)
    if depth is not None:
        context.set_verify_depth(depth)
    pair = Pair(client_context(certs.device(certs.intermediate(certs.root()))))
    pair.engine = TLSEngine(context)
    pair.shake_hands()
    return told


def test_openssl_builds_no_chain_and_so_checks_no_signature_in_one() -> None:
    """Decisions T10, docs/adr/0001. With a depth of its own making OpenSSL would have gone on to the issuer."""
    told = errors_of_a_handshake(None)
    assert (UNABLE_TO_VERIFY_LEAF_SIGNATURE, 0) in told
    assert {depth for _, depth in told} == {0}
    assert {depth for _, depth in errors_of_a_handshake(10)} == {0, 1}


# --- nothing is resumed (decisions T10) ------------------------------------------------------------------------------


@versions
def test_a_session_cannot_be_redeemed_and_the_certificate_is_asked_for_again(version: ssl.TLSVersion) -> None:
    first_certificate, second_certificate = certs.self_signed("pump-01"), certs.self_signed("pump-02")
    context = client_context(first_certificate, version=version)
    first = Pair(context).shake_hands()
    # TLS 1.3 sends tickets after the handshake: read until they are in.
    assert first.hear(first.engine.send(b"x")) == b"x"
    session = first.client.session
    assert session is not None
    again = Pair(context, session=session).shake_hands()
    assert again.client.session_reused is False
    assert again.engine.peer_certificates() == first_certificate.sends().certificates
    # Were the session redeemed, the first certificate would still stand for this client.
    with pytest.raises(ValueError, match="SSLContext"):
        Pair(client_context(second_certificate, version=version), session=session)


@versions
def test_the_same_holds_for_many_sessions_in_a_row(version: ssl.TLSVersion) -> None:
    context = client_context(certs.self_signed(), version=version)
    session = None
    for _ in range(5):
        pair = Pair(context, session=session).shake_hands()
        pair.hear(pair.engine.send(b"x"))
        assert pair.client.session_reused is False
        session = pair.client.session


# --- any cut of the bytes --------------------------------------------------------------------------------------------


def each_byte(data: bytes) -> Iterable[bytes]:
    return (data[at : at + 1] for at in range(len(data)))


@versions
def test_records_cut_at_every_byte(version: ssl.TLSVersion) -> None:
    pair = Pair(client_context(certs.self_signed(), version=version), each_byte).shake_hands()
    pair.deliver(pair.say(b"a", b"b" * 300, b"", b"c"))
    assert pair.heard == b"a" + b"b" * 300 + b"c"
    assert len(pair.engine.peer_certificates()) == 1


@versions
def test_many_records_in_one_piece(version: ssl.TLSVersion) -> None:
    pair = Pair(client_context(version=version)).shake_hands()
    pieces = [b"%d," % number for number in range(3000)]
    pair.deliver(pair.say(*pieces))
    assert pair.heard == b"".join(pieces)


def test_the_end_of_the_handshake_with_much_behind_it_in_one_piece() -> None:
    """The limit of the handshake does not count what comes after it."""
    pair = Pair(client_context(certs.self_signed(), version=ssl.TLSVersion.TLSv1_3))
    with pytest.raises(ssl.SSLWantReadError):
        pair.client.do_handshake()
    pair.deliver()
    pair.client.do_handshake()
    said = bytes(MAX_HANDSHAKE_BYTES) + b"x" * 200_000
    assert pair.engine.receive(pair.say(said)) == said


@settings(max_examples=60, deadline=None)
@given(
    version=st.sampled_from(VERSIONS),
    sizes=st.lists(st.integers(1, 40_000), min_size=1, max_size=5),
    cuts=st.lists(st.integers(1, 60_000), max_size=12),
    by=st.sampled_from([1, 7, 100, 16_406, 1_000_000]),
)
def test_any_split_gives_the_same_plaintext(
    version: ssl.TLSVersion, sizes: list[int], cuts: list[int], by: int
) -> None:
    pair = Pair(client_context(version=version)).shake_hands()
    said = [bytes((number % 251,)) * size for number, size in enumerate(sizes)]
    data = pair.say(*said)
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for start, end in zip(edges, edges[1:], strict=False):
        # A third of the pieces is cut further, so that aligned and unaligned ones follow each other.
        step = by if (start + end) % 3 == 0 and (end - start) // by < 500 else end - start
        for at in range(start, end, step):
            pair.heard += pair.engine.receive(data[at : min(at + step, end)])
    assert pair.heard == b"".join(said)
    pair.heard = b""
    pair.deliver(pair.say(b"still there"))
    assert pair.heard == b"still there"


def test_the_middle_of_a_record_that_looks_like_a_record_is_not_counted_as_one() -> None:
    """Ciphertext can spell a header whose length fits what came, while more records than one are in it."""
    pair = Pair(client_context(version=ssl.TLSVersion.TLSv1_3)).shake_hands()
    overhead = len(pair.say(b"x")) - 1
    pair = Pair(client_context(version=ssl.TLSVersion.TLSv1_3)).shake_hands()
    data = pair.say(bytes(10_000))
    for cut in range(6, len(data) - 5):
        missing = 5 + int.from_bytes(data[cut + 3 : cut + 5], "big") - len(data[cut:])
        if 2 * overhead < missing <= 16_384:
            break
    else:
        raise AssertionError("no such place, which has a chance of one in many thousand")
    data += pair.say(b"a" * (missing - 2 * overhead - 1), b"b")
    assert pair.engine.receive(data[:cut]) == b""
    assert pair.engine.receive(data[cut:]) == bytes(10_000) + b"a" * (missing - 2 * overhead - 1) + b"b"


@versions
def test_a_close_in_the_same_piece_as_the_last_words(version: ssl.TLSVersion) -> None:
    pair = Pair(client_context(version=version)).shake_hands()
    data = pair.say(b"last words")
    with pytest.raises(ssl.SSLWantReadError):
        pair.client.unwrap()
    pair.deliver(data + pair._out.read())
    assert pair.heard == b"last words"
    assert pair.engine.closed


@versions
def test_closing_says_so_to_the_client(version: ssl.TLSVersion) -> None:
    pair = Pair(client_context(version=version)).shake_hands()
    farewell = pair.engine.send(b"bye") + pair.engine.close()
    assert pair.hear(farewell) == b"bye"
    assert pair.client.read(1) == b""
    assert pair.engine.close() == b""


# --- what is no TLS --------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(data=st.binary(min_size=1, max_size=400))
def test_garbage_is_refused_or_waited_for(data: bytes) -> None:
    engine = TLSEngine(server_context())
    try:
        assert engine.receive(data) == b""
    except RemoteProtocolError as error:
        assert error.reason == "tls.handshake"
        assert str(error)
    assert not engine.established
    assert engine.peer_certificates() == ()


def test_plain_http_is_named() -> None:
    with pytest.raises(RemoteProtocolError, match="http request") as caught:
        TLSEngine(server_context()).receive(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert caught.value.reason == "tls.handshake"


@versions
def test_a_changed_record_is_refused(version: ssl.TLSVersion) -> None:
    pair = Pair(client_context(version=version)).shake_hands()
    data = bytearray(pair.say(b"hello"))
    data[-1] ^= 1
    with pytest.raises(RemoteProtocolError) as caught:
        pair.engine.receive(bytes(data))
    assert caught.value.reason == "tls.record"
    assert pair.engine.take_output()


@versions
def test_a_chain_that_is_too_long_for_a_handshake_is_cut_off_and_what_came_is_not_more_than_the_limit(
    version: ssl.TLSVersion,
) -> None:
    signer = certs.root("A root with a name that takes its space " + "x" * 20)
    for number in range(170):
        signer = certs.intermediate(signer, f"Intermediate {number:03} with a name that takes its space " + "x" * 10)
    pair = Pair(client_context(certs.device(signer), version=version))
    with pytest.raises(RemoteProtocolError) as caught:
        pair.shake_hands()
    assert caught.value.reason == "tls.handshake_too_large"


def test_a_handshake_that_never_ends_is_cut_at_its_limit() -> None:
    """A record that announces a message of 16 MiB, then one byte at a time."""
    engine = TLSEngine(server_context())
    hello = b"\x16\x03\x01\x40\x00" + b"\x01\x01\x00\x00" + bytes(0x4000 - 4)
    with pytest.raises(RemoteProtocolError) as caught:
        for _ in range(10):
            engine.receive(hello)
    assert caught.value.reason in ("tls.handshake", "tls.handshake_too_large")
    assert engine.handshake_bytes <= MAX_HANDSHAKE_BYTES + len(hello)


@versions
def test_half_a_handshake_shows_nothing_and_closes_without_a_word(version: ssl.TLSVersion) -> None:
    pair = Pair(client_context(certs.self_signed(), version=version))
    with pytest.raises(ssl.SSLWantReadError):
        pair.client.do_handshake()
    hello = pair._out.read()
    assert pair.engine.receive(hello[:-1]) == b""
    assert pair.engine.take_output() == b""
    assert pair.engine.peer_certificates() == ()
    assert pair.engine.close() == b""
