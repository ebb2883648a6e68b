"""The hub's own server certificate: its CA, the leaf that clients see, and the bundle they trust.

Made at first start, kept after. The CA is name-constrained to the names the hub is known by (decisions T13), so whoever
trusts the bundle trusts it for this hub alone; a name outside of them therefore brings a new CA, and the bundle keeps
the older ones for as long as they live. The leaf is renewed well before its end, and exchanged without a restart (S13):
the front door takes the new context for the next connection, sessions that stand do not notice.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

from cryptography import x509
from OpenSSL import SSL

from moorage.adapters.files import private_folder, read_private, write_whole
from moorage.errors import Invalid
from moorage.pki.certificates import Certificate
from moorage.pki.inputs import parse_certificates
from moorage.pki.issue import fullchain, issue_root, issue_server, key_matches, server_constraints
from moorage.pki.keys import PrivateKey, load_key, make_key, save_key
from moorage.pki.policy import is_signed_by
from moorage.protocols.tls.engine import make_context

__all__ = ["ServerCertificate"]

log = logging.getLogger(__name__)

_CA_LIFETIME = timedelta(days=3650)
_LEAF_LIFETIME = timedelta(days=90)
_RENEW_BEFORE = timedelta(days=30)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class ServerCertificate:
    """Keys and certificates in `folder`, the bundle for clients at `bundle`."""

    def __init__(self, folder: Path, bundle: Path, names: Sequence[str]) -> None:
        self._folder = folder
        self._bundle = bundle
        hosts = dict.fromkeys((*names, *_LOOPBACK))
        self._addresses: list[IPv4Address | IPv6Address] = []
        self._dns_names: list[str] = []
        for host in hosts:
            try:
                self._addresses.append(ip_address(host))
            except ValueError:
                self._dns_names.append(host)

    def context(self, now: datetime) -> SSL.Context:
        """A TLS context with a certificate that is good for every name; made, kept or renewed as needed."""
        private_folder(self._folder)
        ca, ca_key = self._load("ca") or self._new_ca(now)
        if not self._covers(ca, now):
            ca, ca_key = self._new_ca(now)
        leaf, key = self._load("server") or self._new_leaf(ca, ca_key, now)
        if self._is_due(leaf, ca, now):
            leaf, key = self._new_leaf(ca, ca_key, now)
        self._write_bundle(ca, now)
        return make_context([leaf.x509, ca.x509], key)

    def renewed(self, now: datetime) -> SSL.Context | None:
        """A fresh context when the certificate in use comes to its end, else None."""
        ca, leaf = self._load("ca"), self._load("server")
        if ca is not None and leaf is not None and self._covers(ca[0], now) and not self._is_due(leaf[0], ca[0], now):
            return None
        return self.context(now)

    def _is_due(self, leaf: Certificate, ca: Certificate, now: datetime) -> bool:
        names = leaf.x509.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return (
            leaf.issuer != ca.subject
            # Two CAs of one second have one name.
            or not is_signed_by(leaf, ca)
            or not ca.not_before <= now <= ca.not_after
            or now > leaf.not_after - _RENEW_BEFORE
            or now < leaf.not_before
            or not set(self._dns_names) <= set(names.get_values_for_type(x509.DNSName))
            or not set(self._addresses) <= set(names.get_values_for_type(x509.IPAddress))
        )

    def _covers(self, ca: Certificate, now: datetime) -> bool:
        """Whether `ca` may still sign for every name, and outlives the next leaf."""
        constraints = ca.x509.extensions.get_extension_for_class(x509.NameConstraints).value
        permitted = {str(name.value) for name in constraints.permitted_subtrees or ()}
        wanted = {*self._dns_names, *(str(ip_network(address)) for address in self._addresses)}
        return wanted <= permitted and ca.not_before <= now <= ca.not_after - _LEAF_LIFETIME

    def _new_ca(self, now: datetime) -> tuple[Certificate, PrivateKey]:
        key = make_key()
        ca = issue_root(
            key,
            f"moorage server CA {now:%Y-%m-%d %H:%M:%S}",
            now=now,
            lifetime=_CA_LIFETIME,
            path_length=0,
            constraints=server_constraints(self._dns_names, [ip_network(address) for address in self._addresses]),
        )
        log.info("server_ca_made subject=%s not_after=%s", ca.subject, ca.not_after.isoformat())
        self._save("ca", [ca], key)
        return ca, key

    def _new_leaf(self, ca: Certificate, ca_key: PrivateKey, now: datetime) -> tuple[Certificate, PrivateKey]:
        key = make_key()
        leaf = issue_server(
            key.public_key(),
            dns_names=self._dns_names,
            addresses=self._addresses,
            issuer=ca,
            issuer_key=ca_key,
            now=now,
            lifetime=_LEAF_LIFETIME,
        )
        log.info("server_certificate_made names=%s not_after=%s", self._dns_names, leaf.not_after.isoformat())
        self._save("server", [leaf, ca], key)
        return leaf, key

    def _load(self, kind: str) -> tuple[Certificate, PrivateKey] | None:
        certificate_file, key_file = self._folder / f"{kind}_cert.pem", self._folder / f"{kind}_key.pem"
        try:
            certificate, key = parse_certificates(certificate_file.read_bytes())[0], load_key(read_private(key_file))
        except FileNotFoundError:
            return None
        except Invalid as refusal:
            raise Invalid(
                "server_certificate.unreadable",
                f"{certificate_file} and {key_file} cannot be used: {refusal.message}",
                fix=f"move {self._folder} aside; new ones are made at the next start, and clients need the new bundle",
            ) from None
        if not key_matches(certificate, key):
            # The hub ended between the two: the certificate is the one that was to be replaced.
            log.warning("server_certificate_half_written file=%s; a new one is made", certificate_file)
            return None
        return certificate, key

    def _save(self, kind: str, chain: list[Certificate], key: PrivateKey) -> None:
        # The key first: a certificate is never there without a key; `_load` sees whether it is its own.
        write_whole(self._folder / f"{kind}_key.pem", save_key(key))
        write_whole(self._folder / f"{kind}_cert.pem", fullchain(chain).encode())

    def _write_bundle(self, ca: Certificate, now: datetime) -> None:
        """The current CA first, then earlier ones that clients may still meet."""
        try:
            held = self._bundle.read_bytes()
            earlier = [old for old in parse_certificates(held) if old.der != ca.der and old.not_after > now]
        except FileNotFoundError:
            held, earlier = b"", []
        bundle = fullchain([ca, *earlier]).encode()
        if bundle != held:
            write_whole(self._bundle, bundle, mode=0o644)
