"""What each check of a connection asks, in the words of whoever reads the list: true when it passed.

A check is named by the reason of its refusal (`chain.expired`), which beside a tick reads as its opposite.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["WORDS", "asks"]

WORDS: Final[Mapping[str, str]] = {
    "attestation.endorsement_key": "The TPM's endorsement key is the enrolled one",
    "attestation.kind": "The enrollment takes this kind of credential",
    "attestation.storage_root_key": "The TPM's storage root key is the enrolled one",
    "attestation.thumbprint": "The certificate is an enrolled one",
    "chain.critical_extension": "Every critical extension is understood",
    "chain.empty": "A certificate was sent",
    "chain.expired": "No certificate has expired",
    "chain.incomplete": "Every issuer is known",
    "chain.key_usage": "Each CA may sign certificates",
    "chain.leaf_is_ca": "The device's certificate is no CA's",
    "chain.malformed": "Every certificate can be read",
    "chain.name_constraints": "Its CAs may issue for this name",
    "chain.no_name": "The certificate has a name",
    "chain.not_a_ca": "Whoever signed a certificate is a CA",
    "chain.not_yet_valid": "Every certificate is valid already",
    "chain.path_length": "No more CAs than a CA allows below it",
    "chain.policy_constraints": "No CA constrains policies",
    "chain.revocation_unknown": "It is known whether a certificate was revoked",
    "chain.revoked": "No certificate was revoked",
    "chain.signature": "Each issuer's key made the signature",
    "chain.too_large": "Not too many bytes",
    "chain.too_long": "Not too many certificates",
    "chain.untrusted": "The path ends in a trusted CA",
    "chain.weak_key": "Every key is strong enough",
    "chain.weak_signature": "Every signature is strong enough",
    "chain.wrong_usage": "The certificate is for clients",
    "device.admitted": "The application lets the device in",
    "enrollment.disabled": "The enrollment is enabled",
    "enrollment.group": "A group lets it in",
    "enrollment.individual": "An enrollment of its own",
    "identity.certificate_missing": "A certificate was shown",
    "identity.common_name": "The certificate has one common name",
    "identity.disabled": "The device is enabled",
    "identity.mismatch": "The certificate is for this device",
    "identity.no_credential": "The device has a credential",
    "identity.thumbprint": "The certificate is a registered one",
    "identity.unknown": "The device is registered",
    "registration.case_conflict": "Its ID is spelt as it was",
    "registration.id_mismatch": "The common name is the registration ID",
    "sas.disabled_for_devices": "Tokens of devices are allowed",
    "sas.disabled_for_modules": "Tokens of modules are allowed",
    "sas.disabled_for_policies": "Tokens of policies are allowed",
    "token.audience": "The token is for this hub and name",
    "token.expired": "The token has not expired",
    "token.malformed": "The token can be read",
    "token.missing": "A token was shown",
    "token.policy_rights": "The policy has the right",
    "token.policy_unknown": "The policy exists",
    "token.signature": "The token is signed with its key",
    "tpm.challenge": "The TPM's challenge was answered",
}


def asks(name: str) -> str:
    """What the check asks; of one that comes from an older record, its name."""
    return WORDS.get(name, name)
