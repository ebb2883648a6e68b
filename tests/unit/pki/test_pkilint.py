"""pkilint reads RFC 5280 in its own way: it has nothing against what is issued here, but for two reasoned lines."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_address

import pytest

from moorage.pki.certificates import Certificate
from moorage.pki.issue import issue_root, issue_server, issue_verification, make_csr, server_constraints, sign_csr
from moorage.pki.list_issuing import REVOCATION_REASONS, issue_revocation_list
from moorage.pki.revocation_lists import Entry
from tests import certs
from tests.unit.pki.linting import lint_certificate, lint_list

DAY = timedelta(days=1)


def complaints(certificate: Certificate) -> list[str]:
    return [found for found in lint_certificate(certificate.der) if not found.startswith("INFO")]


@pytest.mark.parametrize("kind", ["ec-p256", "ec-p384", "rsa-2048"])
def test_what_devices_and_their_cas_get(kind: str) -> None:
    root = certs.root(f"Lint {kind}", kind=kind)
    line = certs.intermediate(root, "Lint Line", kind=kind, path_length=0)
    pump = certs.device(line, "pump-01", kind=kind)
    camera = certs.device(line, "pump-01/camera", kind=kind)
    request = sign_csr(
        make_csr(pump.key, "pump-02"), issuer=line.certificate, issuer_key=line.key, now=certs.NOW, lifetime=DAY
    )
    proof = issue_verification(root.certificate, root.key, "0123456789ABCDEF", now=certs.NOW)
    own = certs.self_signed("pump-03", kind=kind)
    far = issue_root(root.key, "Far", now=certs.NOW, lifetime=365 * 40 * DAY)
    issued = [each.certificate for each in (root, line, pump, camera, own)]
    assert [complaints(each) for each in (*issued, request, proof, far)] == [[]] * 8


def test_what_servers_get() -> None:
    root = certs.root("Lint Server Root")
    made = issue_server(
        root.key.public_key(),
        dns_names=["hub.example", "hub.plant.example"],
        addresses=[ip_address("127.0.0.1"), ip_address("::1")],
        issuer=root.certificate,
        issuer_key=root.key,
        now=certs.NOW,
        lifetime=DAY,
    )
    assert complaints(made) == []


def test_the_two_lines_that_stay() -> None:
    """A name of one label is one (RFC 1034 3.5), and this machine has no other. Constraints of the server's CA are not
    critical, since small TLS stacks cannot evaluate them and would refuse the CA altogether."""
    root = certs.root("Lint Server Root")
    constraints = server_constraints(["localhost"])
    made = issue_root(root.key, "Lint Constrained", now=certs.NOW, lifetime=DAY, constraints=constraints)
    codes = {found.split(" at ")[0] for found in complaints(made)}
    assert codes == {
        "ERROR: pkix.certificate_name_constraints_extension_not_critical",
        "ERROR: pkix.invalid_domain_name_syntax",
    }


def test_a_wrong_certificate_is_complained_of() -> None:
    assert complaints(certs.odd("pump-01", issuer=certs.root("Lint Server Root"))) != []


@pytest.mark.parametrize("kind", ["ec-p256", "rsa-2048"])
def test_lists(kind: str) -> None:
    root = certs.root(f"Lint {kind}", kind=kind)
    entries = {number + 1: Entry(certs.NOW, reason) for number, reason in enumerate(REVOCATION_REASONS)}
    for each in ({}, entries):
        made = issue_revocation_list(
            root.certificate, root.key, each, number=7, now=certs.NOW, next_update=certs.NOW + DAY
        )
        assert lint_list(made) == []
