"""The server end of TLS over memory buffers: encrypted bytes in, plaintext and encrypted bytes out, no socket.

A client certificate is asked for and any is taken: the handshake proves possession of its key and nothing else. Whether
the certificate is good is judged later, where the answer can be explained (decisions T10).

What OpenSSL is kept from doing. pyOpenSSL's binding cannot replace its chain verification, but a verify depth below any
it knows makes it give up before it looks for an issuer: it reports that it cannot verify the leaf (error 21), checks no
signature, and the verify callback waves that through. So no signature but the handshake's own is checked before our
bounds apply, and the bytes fed before the handshake is done are capped. Sessions are neither cached nor resumed: with
no session cache a ticket that OpenSSL still sends in TLS 1.3 names a session that nobody keeps. Renegotiation is off.
The security level is 0, so that a weak certificate reaches our refusal.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.bindings.openssl.binding import Binding
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from OpenSSL import SSL, crypto

from moorage.errors import RemoteProtocolError

__all__ = ["MAX_HANDSHAKE_BYTES", "TLSEngine", "make_context"]

# A chain of ten RSA-4096 certificates is about 20 KB; OpenSSL's own limit for the list is 100 KB, Go's is 64 KiB.
MAX_HANDSHAKE_BYTES = 64 * 1024

# One TLS record holds at most 16 KiB of plaintext (RFC 8446 5.1). The buffers are allocated anew for each call; larger
# ones cost 2 % of a connect.
_READ_BYTES = 16 * 1024
_OUTPUT_BYTES = 16 * 1024

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

# OpenSSL calls this for each thing that it finds wrong with the client's certificate, four times a handshake or more,
# and is told to go on. It is set with what pyOpenSSL itself is made of: pyOpenSSL's own way makes a certificate object
# and looks up the connection at each call, for a function that looks at neither, and that cost 5 % of a connect.
_openssl = Binding()
_take_any = _openssl.ffi.callback("int (*)(int, X509_STORE_CTX *)", lambda _ok, _store_context: 1)


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
    _openssl.lib.SSL_CTX_set_verify(context._context, SSL.VERIFY_PEER, _take_any)
    context.set_verify_depth(_NO_CHAIN)
    context.use_certificate(chain[0])
    for issuer in chain[1:]:
        context.add_extra_chain_cert(issuer)
    context.use_privatekey(key)  # type: ignore[arg-type]  # the stub lists fewer key types than the function takes
    return context


class TLSEngine:
    """One server connection.

    `receive` takes bytes from the socket and returns the plaintext they held; `take_output` gives what must go out.
    Both are cheap when there is nothing. After `closed` is set nothing more comes. `handshake_bytes` counts what the
    peer has sent of its handshake.
    """

    __slots__ = ("_aligned", "_connection", "closed", "established", "handshake_bytes")

    def __init__(self, context: SSL.Context) -> None:
        connection = SSL.Connection(context, None)
        connection.set_accept_state()
        self._connection = connection
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
        connection = self._connection
        reads = self._records_in(data) if self._aligned else 0
        if self.established:
            connection.bio_write(data)
        else:
            if not self._shake_hands(data):
                return b""
            # Some of these records were the handshake's: read until nothing is left.
            reads = 0
        parts = []
        try:
            while True:
                parts.append(connection.recv(_READ_BYTES))
                if len(parts) == reads:
                    break
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.closed = True
        except SSL.Error as error:
            raise RemoteProtocolError("tls.record", _sentence(error)) from None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _shake_hands(self, data: bytes) -> bool:
        """Feed `data`, as much as a handshake may have; whether it is done. What is behind it is fed then too."""
        connection = self._connection
        room = MAX_HANDSHAKE_BYTES - self.handshake_bytes
        self.handshake_bytes += len(data)
        if room:
            connection.bio_write(data if len(data) <= room else data[:room])
        try:
            connection.do_handshake()
        except SSL.WantReadError:
            if len(data) > room:
                raise RemoteProtocolError(
                    "tls.handshake_too_large", f"the handshake passed {MAX_HANDSHAKE_BYTES} bytes without finishing"
                ) from None
            return False
        except SSL.Error as error:
            raise _failed_handshake(error) from None
        if len(data) > room:
            connection.bio_write(data[room:])
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
        """Encrypt `plaintext` and return everything that must go out."""
        connection = self._connection
        view = memoryview(plaintext)
        sent = 0
        while sent < len(view):
            sent += connection.send(view[sent:] if sent else plaintext)
        return self.take_output()

    def take_output(self) -> bytes:
        """Bytes for the peer; empty when there are none."""
        connection = self._connection
        try:
            first = connection.bio_read(_OUTPUT_BYTES)
        except SSL.WantReadError:
            return b""
        if len(first) < _OUTPUT_BYTES:
            return first
        parts = [first]
        try:
            while True:
                parts.append(connection.bio_read(_OUTPUT_BYTES))
        except SSL.WantReadError:
            return b"".join(parts)

    def close(self) -> bytes:
        """The close_notify alert to send before the socket is closed; empty when the handshake never finished."""
        if not self.established or self.closed:
            return self.take_output()
        self.closed = True
        try:
            self._connection.shutdown()
        except SSL.Error:
            # The peer may have broken the connection already; what is queued is still worth sending.
            return self.take_output()
        return self.take_output()

    @property
    def version(self) -> str:
        """`TLSv1.2` or `TLSv1.3`."""
        return self._connection.get_protocol_version_name()

    @property
    def server_name(self) -> str | None:
        """The name the client asked for (SNI)."""
        name = self._connection.get_servername()
        return None if name is None else name.decode("ascii", "backslashreplace")

    def peer_certificates(self) -> tuple[bytes, ...]:
        """DER, leaf first, as sent; empty when the peer showed none.

        Once `established` the peer has proven to hold the leaf's key; before, or after a failure, nothing is proven.
        """
        leaf = self._connection.get_peer_certificate()
        if leaf is None:
            return ()
        # On the server's side OpenSSL keeps the leaf apart from what came after it.
        rest = self._connection.get_peer_cert_chain() or []
        return (_der(leaf), *(_der(issuer) for issuer in rest))


def _der(certificate: crypto.X509) -> bytes:
    return crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)


def _failed_handshake(error: SSL.Error) -> RemoteProtocolError:
    sentence = _sentence(error)
    if "alert" in sentence and sentence.endswith(_DISTRUST):
        return RemoteProtocolError(
            "tls.server_distrusted",
            f"the client does not accept the hub's certificate ({sentence}); it has to trust the CA_BUNDLE of "
            "'moorage env', and to connect by a name that the certificate has: moorage up --hostname NAME",
        )
    return RemoteProtocolError("tls.handshake", sentence)


def _sentence(error: SSL.Error) -> str:
    if isinstance(error, SSL.SysCallError):
        return "the peer closed the socket in the middle of the conversation"
    queue = error.args[0] if error.args else ()
    reasons = [entry[2] for entry in queue if len(entry) == 3] if isinstance(queue, list) else []
    return "; ".join(dict.fromkeys(reasons)) or "OpenSSL gave no reason"
