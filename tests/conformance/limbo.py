"""x509-limbo (C2SP), the shared suite for path validation, from a compiled file; its data is not kept here.

Most of its cases are about servers. What a device has not is left out: the name that a client expects of a server. The
extended key usage asked for is that of the case. Lists are asked hard where a case brings some.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from moorage.errors import Refusal
from moorage.pki.certificates import Certificate, PeerChain
from moorage.pki.listed_revocation import ListedRevocation
from moorage.pki.policy import MAX_CERTIFICATES
from moorage.pki.revocation_lists import RevocationList, parse_revocation_list
from moorage.pki.validator import TrustAnchors, Validator
from tests.conformance.score import ACCEPTED, Case

__all__ = ["LEFT_OUT", "WAIVERS", "NotAvailable", "limbo_cases", "names_its_peer"]

_KEY_IDS: Final = (
    "key identifiers are hints for building a path; certificates of devices, and CAs made with short commands of older "
    "OpenSSL, lack them, and no name or key is trusted for having one"
)
_HOST_NAMES: Final = (
    "how a DNS name is spelled matters to who looks for a server by it; device ids with underscores and addresses are "
    "put there, and names are judged where a CA constrains them"
)
_OTHER_NAME: Final = "the certificate is for another name than a client asks for, and a device is not asked for one"
# Cases that must fail and are accepted.
LEFT_OUT: Final[dict[str, str]] = {
    "rfc5280::aki::leaf-missing-aki": _KEY_IDS,
    "rfc5280::aki::intermediate-missing-aki": _KEY_IDS,
    "rfc5280::aki::cross-signed-root-missing-aki": _KEY_IDS,
    "rfc5280::ski::root-missing-ski": _KEY_IDS,
    "rfc5280::ski::intermediate-missing-ski": _KEY_IDS,
    "rfc5280::san::underscore-dns": _HOST_NAMES,
    "rfc5280::san::ip-in-dns": _HOST_NAMES,
    "rfc5280::nc::permitted-dns-match-noncritical": (
        "constraints are enforced whether they are critical or not; small TLS stacks refuse a CA whose constraints are "
        "critical, so CAs are made without, our own among them"
    ),
    "rfc5280::root-non-critical-basic-constraints": (
        "they say CA:TRUE and are enforced all the same; roots made with the settings of older OpenSSL have them so"
    ),
}
# Cases that must succeed and are refused.
_LEAF_IS_CA: Final = "what a device shows must not be a CA: it could issue certificates for other devices"
_MANY_SENT: Final = (
    f"the peer sends a whole bridge of CAs, 38 certificates; at most {MAX_CERTIFICATES} are taken, so that what a "
    "stranger can make the hub read is bounded"
)
WAIVERS: Final[dict[str, str]] = {
    "pathlen::validation-ignores-pathlen-in-leaf": _LEAF_IS_CA,
    "rfc5280::ca-as-leaf": _LEAF_IS_CA,
    # The bridge of RFC 4158, in files that are compiled with the cases of BetterTLS.
    **{f"bettertls::pathbuilding::tc{number}": _MANY_SENT for number in range(61, 69)},
}
# Cases without a moment of their own are compiled with certificates that are valid for centuries.
_ANY_TIME: Final = datetime(2026, 12, 1, tzinfo=UTC)
_USAGES: Final = {"serverAuth": ExtendedKeyUsageOID.SERVER_AUTH, "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH}

Judge = Callable[[Validator, PeerChain, datetime], object]


class NotAvailable(Exception):
    """The file is not there, or is none of x509-limbo."""


def limbo_cases(file: Path, judge: Judge) -> Iterator[Case]:
    """Every case that concerns chains of clients. Raises `NotAvailable`."""
    try:
        cases = json.loads(file.read_bytes())["testcases"]
    except (OSError, ValueError, KeyError) as error:
        raise NotAvailable(
            f"no compiled x509-limbo file in {file} ({error}); `make conformance LIMBO_JSON=FILE` says where it is"
        ) from error
    for case in cases:
        # Cases about web servers ask for what browsers ask; cases marked online ask the network.
        if case["id"].startswith(("webpki::", "online::")):
            continue
        must_succeed = case["expected_result"] == "SUCCESS"
        excuse = "" if must_succeed or names_its_peer(case) else _OTHER_NAME
        yield Case(case["id"], must_succeed, partial(_verdict, case, judge), excuse)


def names_its_peer(case: dict[str, Any]) -> bool:
    """Whether the server's certificate is for the name that a client asks for: RFC 9525, wildcards as whole labels."""
    asked = case["expected_peer_name"]
    if asked is None:
        return True
    try:
        found = Certificate(_der(case["peer_certificate"])).extensions.alt_names
    except Refusal:
        return True
    names: list[x509.GeneralName] = list(found or ())
    value = asked["value"]
    if asked["kind"] == "IP":
        return any(isinstance(name, x509.IPAddress) and name.value == ip_address(value) for name in names)
    if asked["kind"] != "DNS":
        return any(isinstance(name, x509.RFC822Name) and name.value.lower() == value.lower() for name in names)
    wildcard = "*." + value.partition(".")[2]
    return any(
        isinstance(name, x509.DNSName) and name.value.lower() in (value.lower(), wildcard.lower()) for name in names
    )


def _verdict(case: dict[str, Any], judge: Judge) -> str:
    default = "serverAuth" if case["validation_kind"] == "SERVER" else "clientAuth"
    usage = next((_USAGES[each] for each in case["extended_key_usage"] if each in _USAGES), _USAGES[default])
    now = datetime.fromisoformat(case["validation_time"]) if case["validation_time"] else _ANY_TIME
    depth = case["max_chain_depth"]
    sent = PeerChain((_der(case["peer_certificate"]), *map(_der, case["untrusted_intermediates"])))
    try:
        anchors = [Certificate(_der(pem)) for pem in case["trusted_certs"]]
        validator = Validator(
            TrustAnchors(anchors),
            usage=usage,
            max_intermediates=MAX_CERTIFICATES if depth is None else depth,
            revocation=ListedRevocation(_lists(case["crls"]), signers=anchors, default="hard")
            if case["crls"]
            else None,
        )
        judge(validator, sent, now)
    except Refusal as refusal:
        return str(refusal)
    return ACCEPTED


def _lists(pems: list[str]) -> Iterator[RevocationList]:
    for pem in pems:
        try:
            yield parse_revocation_list(pem.encode())
        except Refusal:
            # Refused when it would be installed, so it is not there.
            continue


def _der(pem: str) -> bytes:
    return base64.b64decode("".join(line for line in pem.splitlines() if not line.startswith("-----")))
