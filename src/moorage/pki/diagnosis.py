"""What a hub would refuse of certificates, said before anybody shows them to one.

The rules are those of `pki/policy.py`; here every broken one is named, not the first alone, and what is no rule but
goes wrong in the field: order, a chain that breaks off, an end that is near. Which CAs are registered only the hub
knows: of a chain that needs one it is said which.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography.x509.oid import ExtendedKeyUsageOID

from moorage.errors import Invalid
from moorage.ids import parse_device_id, parse_module_id
from moorage.pki.certificates import Certificate
from moorage.pki.fixes import issuer_word, new_ca, new_ca_and_leaf, new_leaf, register_root
from moorage.pki.listed_revocation import SKEW, revoked_by
from moorage.pki.policy import (
    ANCHOR_RULES,
    ISSUER_KEY,
    ISSUER_RULES,
    LEAF_RULES,
    MAX_CERTIFICATES,
    MAX_CHAIN_BYTES,
    PINNED_RULES,
    Rule,
    is_signed_by,
)
from moorage.pki.requirements import Asked, find_waived
from moorage.pki.revocation_lists import RevocationList
from moorage.pki.waivers import NO_WAIVERS, Waivers

__all__ = ["Finding", "diagnose_ca", "diagnose_device", "diagnose_revocation"]

_SOON: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Finding:
    """`is_refusal` tells what a hub refuses from what it takes and somebody should know."""

    reason: str
    message: str
    fix: str = ""
    is_refusal: bool = True


def diagnose_ca(certificate: Certificate, now: datetime, waivers: Waivers = NO_WAIVERS) -> list[Finding]:
    """What keeps `certificate` from being registered as a CA, or will, at a hub that has given `waivers`."""
    asked = Asked(now, ExtendedKeyUsageOID.CLIENT_AUTH, waivers=waivers)
    broken = [
        Finding("ca." + each.reason.removeprefix("chain."), each.message, each.fix)
        for each in _broken((ISSUER_KEY, *ANCHOR_RULES), certificate, asked)
    ]
    return broken + _passing_by((certificate,), waivers) + list(_ends_soon(certificate, now))


def diagnose_device(
    certificates: Sequence[Certificate], now: datetime, *, name: str | None = None, waivers: Waivers = NO_WAIVERS
) -> list[Finding]:
    """What keeps a device that sends `certificates`, in this order, from being let in; at least one is given.

    `name` is the device id, or `device/module`, that it shall connect as; `waivers` are those that the hub has given.
    """
    leaf = _leaf_of(certificates)
    asked = Asked(now, ExtendedKeyUsageOID.CLIENT_AUTH, waivers=waivers)
    is_pinned = leaf.is_self_issued and is_signed_by(leaf, leaf)
    findings = list(_bounds(certificates))
    findings += _broken(PINNED_RULES if is_pinned else LEAF_RULES, leaf, asked)
    if is_pinned:
        findings.append(
            Finding(
                "chain.self_signed",
                f"'{leaf.subject}' is signed by its own key: it is let in by its thumbprint alone",
                f"moorage device create {name or 'ID'} --auth x509-thumbprint --certificate FILE",
                is_refusal=False,
            )
        )
        findings += _passing_by((leaf,), waivers)
    else:
        findings += _names(leaf, name)
        findings += _path(leaf, certificates, now, waivers)
    return findings + list(_ends_soon(leaf, now))


def diagnose_revocation(
    certificates: Sequence[Certificate], lists: Sequence[RevocationList], now: datetime
) -> list[Finding]:
    """What `lists` say about `certificates`. The signature of a list is verified where its issuer is among them."""
    findings: list[Finding] = []
    for each in lists:
        shown = f"list {each.number} of '{each.issuer.rfc4514()}'"
        concerned = [certificate for certificate in certificates if certificate.issuer_key == each.issuer_key]
        signers = [certificate for certificate in certificates if certificate.subject_key == each.issuer_key]
        if not concerned:
            message = f"none of the certificates was issued by '{each.issuer.rfc4514()}', whose list was given"
            findings.append(Finding("crl.another_issuer", message, is_refusal=False))
            continue
        if signers and not any(each.signature.is_by(signer.public_key) for signer in signers):
            message = f"the key of '{signers[0].subject}' did not sign {shown}: a hub does not take it"
            findings.append(Finding("crl.signature", message, "find the list that the CA published", is_refusal=False))
            continue
        for certificate in concerned:
            revoked = revoked_by(each, each.find(certificate.issuer_key, certificate.serial_number))
            if revoked is not None:
                asked, leaf = Asked(now, ExtendedKeyUsageOID.CLIENT_AUTH), certificates[0]
                if certificate.is_ca and not leaf.is_ca:
                    fix = new_ca_and_leaf(certificate, leaf)
                else:
                    fix = (new_ca if certificate.is_ca else new_leaf)(certificate, asked)
                findings.append(Finding("chain.revoked", revoked.said_of(certificate), fix))
        if each.next_update < now - SKEW:
            findings.append(
                Finding(
                    "chain.revocation_unknown",
                    f"{shown} is too old: the next one was due at {each.next_update:%Y-%m-%d %H:%M:%S} UTC; under the "
                    "policy hard nobody below that CA is let in",
                    "moorage cert crl --issuer CA",
                    is_refusal=False,
                )
            )
    return findings


def _leaf_of(certificates: Sequence[Certificate]) -> Certificate:
    """The first that is no CA, else the first."""
    return next((certificate for certificate in certificates if not certificate.is_ca), certificates[0])


def _broken(rules: Sequence[Rule], certificate: Certificate, asked: Asked) -> Iterator[Finding]:
    for rule in rules:
        if (message := rule.broken(certificate, asked)) is not None:
            yield Finding(rule.reason, message, rule.fix(certificate, asked))


def _passing_by(path: Sequence[Certificate], waivers: Waivers) -> list[Finding]:
    """What is wrong with `path`, leaf first, and passes because the hub has waived it."""
    return [
        Finding(
            "chain.waived",
            f"{each.check.detail}; a hub that has not given that waiver refuses it",
            "roll to stronger certificates, and then see to it that the waiver is taken back: moorage policy waivers",
            is_refusal=False,
        )
        for each in find_waived(path)
        if each.waiver in waivers
    ]


def _bounds(certificates: Sequence[Certificate]) -> Iterator[Finding]:
    count, size = len(certificates), sum(len(certificate.der) for certificate in certificates)
    if count > MAX_CERTIFICATES:
        yield Finding("chain.too_long", f"{count} certificates; at most {MAX_CERTIFICATES} are taken")
    if size > MAX_CHAIN_BYTES:
        yield Finding("chain.too_large", f"{size} bytes; at most {MAX_CHAIN_BYTES} are read")


def _names(leaf: Certificate, name: str | None) -> Iterator[Finding]:
    """Decisions T3: exactly one common name, which is the device's id, or `device/module`, byte for byte."""
    device, slash, module = (name or "ID").partition("/")
    wanted = shlex.quote(device) + (f" --module {shlex.quote(module)}" if slash else "")
    fix = f"moorage cert device {wanted} --issuer {issuer_word(leaf)} --force"
    try:
        common_name = leaf.common_name()
        device_id, slash, module_id = common_name.partition("/")
        parse_device_id(device_id)
        if slash:
            parse_module_id(module_id)
    except Invalid as problem:
        yield Finding("identity.common_name", f"the common name is no device's: {problem.message}", fix)
        return
    if name is not None and common_name != name:
        how = " (only upper and lower case differ, and it counts)" if common_name.lower() == name.lower() else ""
        yield Finding("identity.mismatch", f"the common name is {common_name!r} and the device is {name!r}{how}", fix)


def _path(leaf: Certificate, certificates: Sequence[Certificate], now: datetime, waivers: Waivers) -> Iterator[Finding]:
    """Upwards as far as the certificates go."""
    path = [leaf]
    while not (path[-1].is_self_issued and len(path) > 1):
        below = path[-1]
        named = [each for each in certificates if each not in path and each.subject_name == below.issuer_name]
        issuer = next((each for each in named if is_signed_by(below, each)), None)
        if issuer is None:
            if named:
                yield Finding(
                    "chain.signature",
                    f"'{named[0].subject}' has the name of the issuer of '{below.subject}', and another key signed it",
                    "find the CA certificate that belongs to the key that signed",
                )
            break
        asked = Asked(now, ExtendedKeyUsageOID.CLIENT_AUTH, tuple(path), waivers)
        yield from _broken((ISSUER_KEY, *ISSUER_RULES), issuer, asked)
        path.append(issuer)
    yield from _passing_by(path, waivers)
    yield from _trust(path)
    if tuple(certificates[: len(path)]) != tuple(path):
        order = ", ".join(f"'{certificate.subject}'" for certificate in path)
        yield Finding(
            "chain.order",
            f"clients send what is in the file as it stands, and a chain begins with the device; the order is: {order}",
            "put the certificates in that order",
            is_refusal=False,
        )
    for stranger in (certificate for certificate in certificates if certificate not in path):
        yield Finding(
            "chain.unrelated",
            f"'{stranger.subject}' is not above '{leaf.subject}'",
            "leave it out",
            is_refusal=False,
        )


def _trust(path: Sequence[Certificate]) -> Iterator[Finding]:
    """Which CA has to be registered: one that is sent along is trusted no more for that."""
    top = path[-1]
    if not top.is_self_issued:
        sent = ", or one of those that are sent," if len(path) > 1 else ""
        yield Finding(
            "chain.incomplete",
            f"the chain ends below '{top.issuer}': that CA{sent} has to be registered with the hub and proven, or the "
            "CAs from it up to one that is have to be sent too",
            "moorage ca list",
            is_refusal=False,
        )
    elif len(path) > 1:
        other = ", or a CA between the two," if len(path) > 2 else ""
        yield Finding(
            "chain.untrusted",
            f"the chain ends in '{top.subject}', which is not trusted for being sent along: before '{path[0].subject}' "
            f"is let in, that CA{other} has to be registered with the hub and proven",
            register_root(top, ()),
            is_refusal=False,
        )


def _ends_soon(certificate: Certificate, now: datetime) -> Iterator[Finding]:
    if now <= certificate.not_after < now + _SOON:
        days = (certificate.not_after - now).days
        yield Finding(
            "chain.ends_soon",
            f"'{certificate.subject}' is valid until {certificate.not_after:%Y-%m-%d %H:%M:%S} UTC, {days} days more",
            "renew it in time: see docs/how-to/roll-certificates.md",
            is_refusal=False,
        )
