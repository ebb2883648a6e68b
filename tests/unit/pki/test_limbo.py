"""x509-limbo, the shared conformance suite for path validation, against the chain policy.

The data is not ours to keep here: `LIMBO_JSON=FILE` names a compiled limbo file. Peer names are not compared, as a
device has none; the usage asked for is that of the case. Each answer of ours that differs has its reason beside it.
"""

from __future__ import annotations

import base64
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from moorage.errors import Refusal
from moorage.pki.certificates import Certificate, PeerChain
from moorage.pki.policy import TrustAnchors, Validator

_NO_REVOCATION = "the service consults no revocation lists; a device is disabled instead"
_NO_DEPTH = "the caller cannot choose the depth; ours is fixed"
_LENIENT_IDS = "key identifiers are hints for building a path; most device certificates in the field lack them"
_LEAF_IS_CA = "a device's leaf must not be a CA"
_NO_ALT_NAMES = "alternative names are not consulted, so how they are spelled does not matter"
_NO_EMAIL = "constraints on mail addresses are not evaluated, and then the answer is no"

DIFFERENCES = {
    "crl::revoked-certificate-with-crl": _NO_REVOCATION,
    "crl::crlnumber-missing": _NO_REVOCATION,
    "crl::crlnumber-critical": _NO_REVOCATION,
    "crl::issuer-missing-crlsign": _NO_REVOCATION,
    "pathlen::max-chain-depth-0-exhausted": _NO_DEPTH,
    "pathlen::max-chain-depth-1-exhausted": _NO_DEPTH,
    "pathlen::validation-ignores-pathlen-in-leaf": _LEAF_IS_CA,
    "rfc5280::ca-as-leaf": _LEAF_IS_CA,
    "rfc5280::aki::leaf-missing-aki": _LENIENT_IDS,
    "rfc5280::aki::intermediate-missing-aki": _LENIENT_IDS,
    "rfc5280::aki::cross-signed-root-missing-aki": _LENIENT_IDS,
    "rfc5280::ski::root-missing-ski": _LENIENT_IDS,
    "rfc5280::ski::intermediate-missing-ski": _LENIENT_IDS,
    "rfc5280::nc::permitted-dns-match-noncritical": "constraints are enforced whether they are critical or not",
    "rfc5280::root-non-critical-basic-constraints": "they say CA:TRUE all the same, and nothing is gained by refusing",
    "rfc5280::pc::ica-noncritical-pc": "certificate policies are not processed; critical ones are refused",
    "rfc5280::nc::nc-permits-invalid-dns-san": _NO_ALT_NAMES,
    "rfc5280::san::noncritical-with-empty-subject": _NO_ALT_NAMES,
    "rfc5280::san::underscore-dns": _NO_ALT_NAMES,
    "rfc5280::san::ip-in-dns": _NO_ALT_NAMES,
    "rfc5280::nc::nc-permits-email-exact": _NO_EMAIL,
    "rfc5280::nc::nc-permits-email-domain": _NO_EMAIL,
    "rfc5280::nc::nc-permits-email-literal-asterisk-exact-match": _NO_EMAIL,
    "rfc5280::nc::nc-permits-email-literal-double-asterisk": _NO_EMAIL,
    "rfc5280::nc::nc-permits-email-literal-mid-asterisk": _NO_EMAIL,
}
# Cases without a moment of their own are compiled with certificates that are valid for centuries.
_ANY_TIME = datetime(2026, 12, 1, tzinfo=UTC)


def _cases() -> list[Any]:
    file = os.environ.get("LIMBO_JSON")
    if not file:
        return [pytest.param(None, marks=pytest.mark.skip(reason="LIMBO_JSON names no compiled x509-limbo file"))]
    cases = json.loads(Path(file).read_text())["testcases"]
    # Cases about web servers ask for names; cases marked online ask the network.
    return [pytest.param(c, id=c["id"]) for c in cases if not c["id"].startswith(("webpki::", "online::"))]


def _der(pem: str) -> bytes:
    return base64.b64decode("".join(line for line in pem.splitlines() if not line.startswith("-----")))


def _verdict(case: dict[str, Any]) -> str:
    usage = ExtendedKeyUsageOID.SERVER_AUTH if case["validation_kind"] == "SERVER" else ExtendedKeyUsageOID.CLIENT_AUTH
    now = datetime.fromisoformat(case["validation_time"]) if case["validation_time"] else _ANY_TIME
    sent = PeerChain((_der(case["peer_certificate"]), *map(_der, case["untrusted_intermediates"])))
    try:
        anchors = TrustAnchors([Certificate(_der(pem)) for pem in case["trusted_certs"]])
        Validator(anchors, usage=usage).validate(sent, now)
    except Refusal:
        return "FAILURE"
    return "SUCCESS"


@pytest.mark.parametrize("case", _cases())
def test_case(case: dict[str, Any]) -> None:
    agrees = _verdict(case) == case["expected_result"]
    assert agrees is (case["id"] not in DIFFERENCES)
