"""pkilint, as a function: what it has against a certificate or a revocation list, by RFC 5280."""

from __future__ import annotations

from pkilint import loader, pkix, validation
from pkilint.pkix import certificate, crl, extension, name

__all__ = ["lint_certificate", "lint_list"]


def lint_certificate(der: bytes) -> list[str]:
    validator = certificate.create_pkix_certificate_validator_container(
        certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            certificate.create_issuer_validator_container([]),
            certificate.create_validity_validator_container(),
            certificate.create_subject_validator_container([]),
            certificate.create_extensions_validator_container([]),
            certificate.create_spki_validator_container([]),
        ],
    )
    return _findings(validator.validate(loader.load_certificate(der, "certificate").root))


def lint_list(der: bytes) -> list[str]:
    validator = crl.create_pkix_crl_validator_container(
        [
            pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
            pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
        ],
        [
            crl.create_issuer_validator_container([]),
            crl.create_validity_validator_container([]),
            crl.create_extensions_validator_container([]),
        ],
    )
    return _findings(validator.validate(loader.load_crl(der, "list").root))


def _findings(results: list[validation.ValidationResult]) -> list[str]:
    return [
        f"{found.finding.severity.name}: {found.finding.code} at {result.node.path}: {found.message or ''}"
        for result in results
        for found in result.finding_descriptions
    ]
