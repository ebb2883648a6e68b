"""How the holder of a CA's key signs a verification code, with the tool at hand (contract/central.md GRP-9)."""

from __future__ import annotations

import json
import shlex

from moorage.errors import Invalid
from moorage.ids import EnrollmentGroupId
from moorage.pki.certificates import Certificate
from moorage.pki.names import CertificateFiles, certificate_files, file_stem
from moorage.provisioning.model import Slot
from moorage.web.code import Code

__all__ = ["files_of_ca", "proof_commands"]

_PYTHON = """\
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ca = x509.load_pem_x509_certificate(Path({certificate}).read_bytes())
key = serialization.load_pem_private_key(Path({key}).read_bytes(), password=None)
now = datetime.now(timezone.utc)
proof = (
    x509.CertificateBuilder()
    .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, {code})]))
    .issuer_name(ca.subject)
    .public_key(ec.generate_private_key(ec.SECP256R1()).public_key())
    .serial_number(x509.random_serial_number())
    .not_valid_before(now - timedelta(minutes=5))
    .not_valid_after(now + timedelta(days=1))
    .sign(key, hashes.SHA256())
)
Path("verification_cert.pem").write_bytes(proof.public_bytes(serialization.Encoding.PEM))"""


def proof_commands(ca: Certificate, code: str, group_id: EnrollmentGroupId, slot: Slot) -> list[Code]:
    """Each writes `verification_cert.pem`; that of moorage hands it in as well. File names are the tutorials'."""
    files = files_of_ca(ca)
    certificate, key = shlex.quote(files.certificate), shlex.quote(files.key)
    group = shlex.quote(group_id)
    return [
        Code(
            "OpenSSL",
            "sh",
            "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout verification_key.pem \\\n"
            f"  -subj /CN={code} -out verification.csr\n"
            f"openssl x509 -req -in verification.csr -CA {certificate} -CAkey {key} -set_serial 0x{code[:16]} \\\n"
            "  -days 1 -sha256 -out verification_cert.pem",
        ),
        Code(
            "moorage",
            "sh",
            "\n".join(
                (
                    f"moorage cert verification --ca {certificate} --issuer-key {key} --code {code} --force",
                    f"moorage enrollment-group verify {group} verification_cert.pem{_slot_option(slot)}",
                )
            ),
        ),
        Code(
            "Python",
            "python",
            _PYTHON.format(certificate=json.dumps(files.certificate), key=json.dumps(files.key), code=json.dumps(code)),
        ),
        Code(
            "step",
            "sh",
            f"step certificate create {code} verification_cert.pem verification_key.pem --ca {certificate} \\\n"
            f"  --ca-key {key} --no-password --insecure --not-after 24h",
        ),
        Code("Node", "sh", f"node create_test_cert.js verification --ca {certificate} --key {key} --nonce {code}"),
    ]


def _slot_option(slot: Slot) -> str:
    return "" if slot == "primary" else f" --slot {slot}"


def files_of_ca(ca: Certificate) -> CertificateFiles:
    """What the tutorials' generator and `moorage cert` call them."""
    names = ca.subject_name.common_names()
    try:
        return certificate_files(file_stem(names[0]))
    except (Invalid, IndexError):
        return certificate_files("root")
