"""Names where their limits are: how many are compared, how long they may be, and what is said of them."""

from __future__ import annotations

import re

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID, ObjectIdentifier

from moorage.pki.distinguished_names import parse_name
from moorage.pki.name_constraints import MAX_COMPARISONS, find_violation
from tests.certs import name, odd

DNS = x509.DNSName


def found(
    constraints: x509.NameConstraints, *names: x509.GeneralName, subject: x509.Name | str = "pump-01"
) -> str | None:
    extensions = [(x509.SubjectAlternativeName(names), True)] if names else []
    return find_violation(constraints, odd(subject, extensions=extensions))


def permitted(*subtrees: x509.GeneralName) -> x509.NameConstraints:
    return x509.NameConstraints(subtrees, None)


def excluded(*subtrees: x509.GeneralName) -> x509.NameConstraints:
    return x509.NameConstraints(None, subtrees)


class TestHowMany:
    """`MAX_COMPARISONS` is 2048, which is 16 names times 128 constraints."""

    ALL = (DNS("example"),) * 64
    OTHER = (DNS("other"),) * 64
    BOTH = x509.NameConstraints(ALL, OTHER)

    def test_names_count_and_the_subject(self) -> None:
        assert MAX_COMPARISONS == 16 * len(self.ALL + self.OTHER)
        assert found(self.BOTH, *[DNS("example")] * 15) is None
        assert found(self.BOTH, *[DNS("example")] * 16) == "17 names against 128 constraints are too many to compare"

    def test_mail_addresses_in_the_subject_count(self) -> None:
        subject = name(*[(NameOID.EMAIL_ADDRESS, "a@example")] * 2)
        assert found(self.BOTH, *[DNS("example")] * 13, subject=subject) is None
        too_many = "17 names against 128 constraints are too many to compare"
        assert found(self.BOTH, *[DNS("example")] * 14, subject=subject) == too_many

    def test_without_alternative_names_there_is_the_subject(self) -> None:
        subject = name(*[(NameOID.EMAIL_ADDRESS, "a@example")] * 15)
        assert found(self.BOTH, subject=subject) is None
        more = name(*[(NameOID.EMAIL_ADDRESS, "a@example")] * 16)
        assert found(self.BOTH, subject=more) == "17 names against 128 constraints are too many to compare"


class TestDnsNames:
    def test_the_empty_limit_has_every_name_below_it(self) -> None:
        assert found(excluded(DNS("")), DNS("any.example")) == "'any.example' is excluded"
        assert found(permitted(DNS("")), DNS("any.example")) is None

    def test_they_have_253_characters(self) -> None:
        longest = ".".join(["a" * 63] * 3 + ["b" * 61])
        assert len(longest) == 253
        assert found(permitted(DNS(longest)), DNS(longest)) is None
        longer = longest + "b"
        assert found(permitted(DNS("")), DNS(longer)) == (
            f"{(repr(longer))[:120]} is no name of its form, so that its constraints cannot be evaluated"
        )


class TestWhatIsSaid:
    def test_of_a_form_that_nobody_can_evaluate(self) -> None:
        registered = x509.RegisteredID(ObjectIdentifier("1.2.3"))
        assert found(permitted(registered), registered) == (
            "constraints on names of the form RegisteredID cannot be evaluated"
        )

    def test_four_of_those_that_are_permitted_are_named(self) -> None:
        said = found(permitted(*(DNS(f"{letter}.example") for letter in "abcde")), DNS("example"))
        assert said == "'example' is outside 'a.example', 'b.example', 'c.example', 'd.example'"


class TestDistinguishedNames:
    def test_attributes_of_one_relative_name_are_joined(self) -> None:
        both = x509.RelativeDistinguishedName(
            [x509.NameAttribute(NameOID.COMMON_NAME, "a"), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "b")]
        )
        more = x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.COUNTRY_NAME, "DE")])
        assert parse_name(x509.Name([more, both]).public_bytes()).rfc4514() in ("CN=a+O=b,C=DE", "O=b+CN=a,C=DE")

    @pytest.mark.parametrize("oid", ["1.0.8571", "1.39.1", "0.39.127", "2.5.4.3", "2.39.128", "2.40.1", "2.999.16384"])
    def test_types_are_shown_dotted(self, oid: str) -> None:
        der = x509.Name([x509.NameAttribute(ObjectIdentifier(oid), "x")]).public_bytes()
        ((attribute,),) = parse_name(der).relative_names
        assert attribute == (oid, "x")

    def test_every_byte_that_cannot_be_shown_is_escaped(self) -> None:
        assert parse_name(name((NameOID.COMMON_NAME, "a\u2028")).public_bytes()).rfc4514() == "CN=a\\E2\\80\\A8"

    @pytest.mark.parametrize(
        ("der", "why"),
        [
            ("3100", "a name is not a SEQUENCE"),
            ("300000", "a name is not a SEQUENCE"),
            ("30023000", "a relative name is not a SET"),
            ("300431023100", "an attribute of a name is not a SEQUENCE"),
            ("300431023000", "a name ends too early"),
            ("3006310430020600", "an attribute of a name has no type"),
            ("3009310730050601810c00", "an object identifier ends too early"),
            ("300b3109300706035504030500", "a common name that is not text"),
        ],
    )
    def test_what_is_no_name(self, der: str, why: str) -> None:
        with pytest.raises(ValueError, match=f"^{re.escape(why)}$"):
            parse_name(bytes.fromhex(der))
