"""What decides who is let in, and the tests that are measured by it: of branches reached, and of mutants noticed."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["MODULES", "MUTATED", "ROOT", "TESTS", "WITHOUT_CHANCE", "file_of"]

ROOT: Final = Path(__file__).resolve().parents[2]

# What the validator asks about revocation.
_REVOCATION: Final = (
    "moorage.pki.listed_revocation",
    "moorage.pki.revocation_lists",
    "moorage.pki.ocsp",
    "moorage.certificates.revocation_model",
)
MODULES: Final = (
    # The validator.
    "moorage.pki.policy",
    "moorage.pki.requirements",
    "moorage.pki.waivers",
    "moorage.pki.validator",
    "moorage.pki.name_constraints",
    "moorage.pki.distinguished_names",
    "moorage.pki.certificates",
    "moorage.pki.der",
    "moorage.pki.signatures",
    "moorage.pki.possession",
    *_REVOCATION,
    # The authoriser.
    "moorage.identities.judge",
    "moorage.identities.trust",
    "moorage.identities.access",
    "moorage.identities.sas",
    "moorage.identities.policy_rules",
    "moorage.identities.resources",
    "moorage.identities.explanations",
    "moorage.provisioning.attestation",
)
# Whose mutants have to be judged and explained (docs/mutants.md); those of the rest are judged on request.
MUTATED: Final = tuple(module for module in MODULES if module not in _REVOCATION)
TESTS: Final = ("tests/unit/pki", "tests/unit/identities", "tests/unit/certificates", "tests/unit/provisioning")
# Inputs that Hypothesis thinks of differ from run to run, and so would what they reach.
WITHOUT_CHANCE: Final = ("-p", "no:randomly", "-p", "no:cacheprovider", "-m", "not hypothesis")


def file_of(module: str) -> str:
    """Its path from the root of the repository."""
    return f"src/{module.replace('.', '/')}.py"
