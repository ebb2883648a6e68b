"""The server end of TLS over memory buffers: encrypted bytes in, plaintext and encrypted bytes out, no socket.

A client certificate is asked for and any is taken: the handshake proves possession of its key and nothing else. Whether
the certificate is good is judged later, where the answer can be explained (decisions T10).

The context is pyOpenSSL's; a connection calls OpenSSL by the binding that pyOpenSSL itself is made of. What
`SSL.Connection` wraps around each of the four calls of a message was a quarter of what a message cost in Python.

What OpenSSL is kept from doing. The binding cannot replace its chain verification, but a verify depth below any
it knows makes it give up before it looks for an issuer: it reports that it cannot verify the leaf (error 21), checks no
signature, and the verify callback waves that through. So no signature but the handshake's own is checked before our
bounds apply, and the bytes fed before the handshake is done are capped. Sessions are neither cached nor resumed: with
no session cache a ticket that OpenSSL still sends in TLS 1.3 names a session that nobody keeps. Renegotiation is off.
The security level is 0, so that a weak certificate reaches our refusal.
"""

from __future__ import annotations

from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.bindings.openssl.binding import Binding
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from OpenSSL import SSL

from moorage.errors import LocalProtocolError, RemoteProtocolError

__all__ = ["MAX_HANDSHAKE_BYTES", "TLSEngine", "make_context"]

# A chain of ten RSA-4096 certificates is about 20 KB; OpenSSL's own limit for the list is 100 KB, Go's is 64 KiB.
MAX_HANDSHAKE_BYTES = 64 * 1024

# One TLS record holds at most 16 KiB of plaintext (RFC 8446 5.1). Buffers are made anew: larger ones cost more.
_READ_BYTES = 16 * 1024

# X509_VERIFY_PARAM_set_depth: -1 stands for "not set" and would mean 100; anything below builds no chain at all. That
# the leaf's issuers stay unread is tested in tests/protocol/tls.
_NO_CHAIN = -2
# How the alerts end that a client sends when it is not content with our certificate (RFC 8446 6.2), in OpenSSL's words.
_DISTRUST = ("unknown ca", "bad certificate", "certificate unknown", "certificate expired")

# contract/devices.md 1.3: ECDHE with AES-GCM for both key families, and the CBC pair for old boards.
_TLS12_CIPHERS = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    b"ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
    b"ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA384:ECDHE-RSA-AES256-SHA384:@SECLEVEL=0"
)
# AES-128 first here too: it goes with SHA-256, for which processors have instructions. With SHA-384 the key schedule
# cost 2 % of a connect more.
_TLS13_CIPHERS = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

_binding = Binding()
_ffi: Any = _binding.ffi
_lib: Any = _binding.lib
# Looked up once: these four are called for each message.
_feed: Any = _lib.BIO_write
_take: Any = _lib.BIO_read
_decrypt: Any = _lib.SSL_read
_encrypt: Any = _lib.SSL_write
_bytes_of: Any = _ffi.unpack
_WANT_READ: Any = _lib.SSL_ERROR_WANT_READ
_ZERO_RETURN: Any = _lib.SSL_ERROR_ZERO_RETURN
# Memory that is written before it is read needs no zeros.
_new: Any = _ffi.new_allocator(should_clear_after_alloc=False)

# OpenSSL calls this for each thing that it finds wrong with the client's certificate, four times a handshake or more,
# and is told to go on. pyOpenSSL's own way makes a certificate object and looks up the connection at each call, for a
# function that looks at neither, and that cost 5 % of a connect.
_take_any: Final = _ffi.callback("int (*)(int, X509_STORE_CTX *)", lambda _ok, _store_context: 1)


def make_context(chain: list[x509.Certificate], key: PrivateKeyTypes) -> SSL.Context:
    """A server context that presents `chain` (leaf first) and takes any client certificate or none."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(_TLS12_CIPHERS)
    context.set_tls13_ciphersuites(_TLS13_CIPHERS)
    context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION)
    context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    # Memory takes everything that is written, so a write is never partial.
    context.clear_mode(_lib.SSL_MODE_ENABLE_PARTIAL_WRITE)
    _lib.SSL_CTX_set_verify(context._context, SSL.VERIFY_PEER, _take_any)
    context.set_verify_depth(_NO_CHAIN)
    context.use_certificate(chain[0])
    for issuer in chain[1:]:
        context.add_extra_chain_cert(issuer)
    context.use_privatekey(key)  # type: ignore[arg-type]  # the stub lists fewer key types than the function takes
    return context


class TLSEngine:
    """One server connection; a browser that is asked for a certificate would ask its user (decisions W3).

    `receive` takes bytes from the socket and returns the plaintext they held; `take_output` gives what must go out.
    Both are cheap when there is nothing. After `closed` is set nothing more comes. `handshake_bytes` counts what the
    peer has sent of its handshake.
    """

    __slots__ = ("_aligned", "_incoming", "_outgoing", "_ssl", "closed", "established", "handshake_bytes")

    def __init__(self, context: SSL.Context, *, asks_certificate: bool = True) -> None:
        # Everything is freed with the engine: SSL_free takes the two memory buffers along.
        self._ssl = _ffi.gc(_allocated(_lib.SSL_new(context._context)), _lib.SSL_free)
        self._incoming = _allocated(_lib.BIO_new(_lib.BIO_s_mem()))
        self._outgoing = _allocated(_lib.BIO_new(_lib.BIO_s_mem()))
        _lib.SSL_set_bio(self._ssl, self._incoming, self._outgoing)
        _lib.SSL_set_accept_state(self._ssl)
        if not asks_certificate:
            _lib.SSL_set_verify(self._ssl, SSL.VERIFY_NONE, _ffi.NULL)
        self.handshake_bytes = 0
        # True while everything fed so far ended at the end of a TLS record: then the records in the next bytes can be
        # counted, and no read is made only to hear that nothing is left.
        self._aligned = True
        self.established = False
        self.closed = False

    def receive(self, data: bytes) -> bytes:
        """Plaintext in `data`, empty while the handshake goes on.

        Raises:
            RemoteProtocolError: `tls.handshake`, `tls.handshake_too_large` or `tls.record`; send `take_output()` (it
                may hold an alert), then close.
        """
        reads = self._records_in(data) if self._aligned else 0
        if self.established:
            _feed(self._incoming, data, len(data))
        else:
            if not self._shake_hands(data):
                return b""
            # Some of these records were the handshake's: read until nothing is left.
            reads = 0
        buffer = _new("char[]", _READ_BYTES)
        parts = []
        while True:
            count = _decrypt(self._ssl, buffer, _READ_BYTES)
            if count <= 0:
                self._look_why(count)
                break
            parts.append(_bytes_of(buffer, count))
            if len(parts) == reads:
                break
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _look_why(self, result: int) -> None:
        """Why nothing was read: there is no more yet, or the peer has closed. Raises for anything else."""
        why = _lib.SSL_get_error(self._ssl, result)
        if why == _ZERO_RETURN:
            self.closed = True
        elif why != _WANT_READ:
            raise RemoteProtocolError("tls.record", _reasons())

    def _shake_hands(self, data: bytes) -> bool:
        """Feed `data`, as much as a handshake may have; whether it is done. What is behind it is fed then too."""
        room = MAX_HANDSHAKE_BYTES - self.handshake_bytes
        self.handshake_bytes += len(data)
        if room:
            _feed(self._incoming, data, min(len(data), room))
        result = _lib.SSL_do_handshake(self._ssl)
        if result != 1:
            if _lib.SSL_get_error(self._ssl, result) != _WANT_READ:
                raise _failed_handshake(_reasons())
            if len(data) > room:
                raise RemoteProtocolError(
                    "tls.handshake_too_large", f"the handshake passed {MAX_HANDSHAKE_BYTES} bytes without finishing"
                )
            return False
        if len(data) > room:
            _feed(self._incoming, data[room:], len(data) - room)
        self.established = True
        return True

    def _records_in(self, data: bytes) -> int:
        """How many whole TLS records `data` is (RFC 8446 5.1: type, version, 16-bit length); 0 when it is not."""
        count = position = 0
        size = len(data)
        while position + 5 <= size:
            position += 5 + (data[position + 3] << 8 | data[position + 4])
            count += 1
        if position == size:
            return count
        self._aligned = False
        return 0

    def send(self, plaintext: bytes) -> bytes:
        """Encrypt `plaintext` and return everything that must go out.

        Raises `LocalProtocolError` when the connection is closed, or was never established.
        """
        if plaintext and _encrypt(self._ssl, plaintext, len(plaintext)) != len(plaintext):
            raise LocalProtocolError(f"TLS does not send: {_reasons()}")
        return self.take_output()

    def take_output(self) -> bytes:
        """Bytes for the peer; empty when there are none."""
        buffer = _new("char[]", _READ_BYTES)
        count = _take(self._outgoing, buffer, _READ_BYTES)
        if count < _READ_BYTES:
            return _bytes_of(buffer, count) if count > 0 else b""
        parts = []
        while count > 0:
            parts.append(_bytes_of(buffer, count))
            count = _take(self._outgoing, buffer, _READ_BYTES)
        return b"".join(parts)

    def close(self) -> bytes:
        """The close_notify alert to send before the socket is closed; empty when the handshake never finished."""
        if self.established and not self.closed:
            self.closed = True
            if _lib.SSL_shutdown(self._ssl) < 0:
                # The peer may have broken the connection already; what is queued is still worth sending.
                _reasons()
        return self.take_output()

    @property
    def version(self) -> str:
        """`TLSv1.2` or `TLSv1.3`."""
        return _text(_lib.SSL_get_version(self._ssl))

    @property
    def cipher(self) -> str:
        """OpenSSL's name of the cipher suite; empty before there is one."""
        cipher = _lib.SSL_get_current_cipher(self._ssl)
        return "" if cipher == _ffi.NULL else _text(_lib.SSL_CIPHER_get_name(cipher))

    @property
    def server_name(self) -> str | None:
        """The name the client asked for (SNI)."""
        name = _lib.SSL_get_servername(self._ssl, _lib.TLSEXT_NAMETYPE_host_name)
        return None if name == _ffi.NULL else _text(name)

    def own_certificate(self) -> bytes:
        """DER of the certificate that the peer is shown."""
        # OpenSSL keeps it: there is nothing to free.
        return _der(_lib.SSL_get_certificate(self._ssl))

    def peer_certificates(self) -> tuple[bytes, ...]:
        """DER, leaf first, as sent; empty when the peer showed none.

        Once `established` the peer has proven to hold the leaf's key; before, or after a failure, nothing is proven.
        """
        leaf = _lib.SSL_get_peer_certificate(self._ssl)
        if leaf == _ffi.NULL:
            return ()
        certificates = [_der(leaf)]
        _lib.X509_free(leaf)
        # On the server's side OpenSSL keeps the leaf apart from what came after it. These stay the connection's own.
        rest = _lib.SSL_get_peer_cert_chain(self._ssl)
        if rest != _ffi.NULL:
            certificates += [_der(_lib.sk_X509_value(rest, index)) for index in range(_lib.sk_X509_num(rest))]
        return tuple(certificates)


def _der(certificate: Any) -> bytes:
    """The bytes of OpenSSL's `X509 *`."""
    memory = _allocated(_lib.BIO_new(_lib.BIO_s_mem()))
    _lib.i2d_X509_bio(memory, certificate)
    begin = _ffi.new("char **")
    size = _lib.BIO_get_mem_data(memory, begin)
    der: bytes = _bytes_of(begin[0], size)
    _lib.BIO_free(memory)
    return der


def _allocated(pointer: Any) -> Any:
    if pointer == _ffi.NULL:
        raise MemoryError(_reasons())
    return pointer


def _failed_handshake(sentence: str) -> RemoteProtocolError:
    if "alert" in sentence and sentence.endswith(_DISTRUST):
        return RemoteProtocolError(
            "tls.server_distrusted",
            f"the client does not accept the hub's certificate ({sentence}); it has to trust the CA_BUNDLE of "
            "'moorage env', and to connect by a name that the certificate has: moorage up --hostname NAME",
        )
    return RemoteProtocolError("tls.handshake", sentence)


def _reasons() -> str:
    """What OpenSSL has queued about the call that failed, as one sentence; the queue is empty after."""
    reasons: dict[str, None] = {}
    while code := _lib.ERR_get_error():
        reasons[_text(_lib.ERR_reason_error_string(code))] = None
    return "; ".join(filter(None, reasons)) or "OpenSSL gave no reason"


def _text(characters: Any) -> str:
    """OpenSSL's `char *`, empty for NULL; what is not ASCII is escaped."""
    return "" if characters == _ffi.NULL else str(_ffi.string(characters).decode("ascii", "backslashreplace"))
