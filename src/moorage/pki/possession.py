"""Proof of possession: showing that you hold the private key of a CA certificate, without handing it over.

A CA certificate is public, so having it shows nothing. We choose a code at random; the operator returns a certificate
that has the code as its common name and is signed by the CA's key (`pki.issue.issue_verification` makes one). Only the
key's holder could have made it, and not before the code was chosen. It is a signed note and never authenticates anyone:
its extensions do not matter, its signature, name and dates do (decisions T6).
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from moorage.errors import Check, Invalid
from moorage.pki.certificates import Certificate
from moorage.pki.policy import is_signed_by
from moorage.pki.signatures import STRONG_SIGNATURES, describe_signature
from moorage.pki.waivers import NO_WAIVERS, Waivers, accepts_key, accepts_signature

__all__ = ["CODE_LIFETIME", "check_possession", "make_code"]

# Long enough to fetch the CA's key from its safe, which is where it should be.
CODE_LIFETIME: Final = timedelta(days=7)
# 192 bits, and 48 characters as the service's own codes have in its documentation: it has to fit a common name.
_CODE_BYTES: Final = 24
_IS_CODE: Final = re.compile(rf"[A-F][0-9A-F]{{{2 * _CODE_BYTES - 1}}}")


def make_code() -> str:
    """A new verification code: 48 upper-case hex characters, the first a letter.

    A code of digits around one E would be read as a number by command lines that guess types, as that of the Azure
    SDK's generator of test certificates does; one that begins with a letter never is.
    """
    while True:
        code = secrets.token_hex(_CODE_BYTES).upper()
        if code[0].isalpha():
            return code


def check_possession(
    ca: Certificate,
    proof: Certificate,
    *,
    code: str | None,
    code_expires: datetime | None = None,
    now: datetime,
    renew: str = "moorage ca code NAME",
    waivers: Waivers = NO_WAIVERS,
) -> None:
    """Check that whoever made `proof` holds the private key of `ca`, and made it for `code`.

    `code` is the one that was handed out last, None when there is none; `code_expires` the end of its time, `renew` the
    command that hands out another, `waivers` the weaknesses that pass. The caller uses a code once.

    Raises `Invalid`:
        proof.no_code: no code is outstanding. proof.code_expired: it was not used in time.
        proof.weak_signature: signed with an algorithm that is not accepted.
        proof.wrong_signer: `ca` did not sign it; tells apart another issuer from another key under the same name.
        proof.wrong_code: signed by `ca`, but for another code.
        proof.expired, proof.not_yet_valid: outside its own dates.
    """
    checks: list[Check] = []

    def check(reason: str, holds: bool, message: str, fix: str) -> None:
        checks.append(Check(reason, holds, "" if holds else message))
        if not holds:
            raise Invalid(reason, message, fix=fix, checks=checks)

    code = code or ""
    check("proof.no_code", code != "", f"no verification code is outstanding for '{ca.subject}'", renew)
    check(
        "proof.code_expired",
        code_expires is None or now < code_expires,
        f"the verification code ran out at {code_expires}, and now is {now}",
        renew,
    )
    fix = "moorage cert verification --issuer CA_FILE --issuer-key KEY --code CODE"
    check(
        "proof.wrong_signer",
        proof.issuer_name == ca.subject_name,
        f"the certificate was issued by '{proof.issuer}', not by '{ca.subject}'",
        fix,
    )
    check(
        "proof.weak_signature",
        accepts_signature(proof.x509, waivers),
        f"'{proof.subject}' is signed with {describe_signature(proof.x509)}; accepted are {STRONG_SIGNATURES}",
        fix,
    )
    check(
        "proof.wrong_signer",
        accepts_key(ca.public_key, waivers) and is_signed_by(proof, ca),
        f"the issuer's name matches '{ca.subject}', but the key of that CA did not sign it; "
        "is there an older CA of the same name?",
        fix,
    )
    names = proof.subject_name.common_names()
    check(
        "proof.wrong_code",
        len(names) == 1 and hmac.compare_digest(names[0].encode(), code.encode()),
        f"'{proof.subject}' is signed by '{ca.subject}', but its common name is {_not_the_code(names)}",
        fix,
    )
    check(
        "proof.not_yet_valid",
        proof.not_before <= now,
        f"'{proof.subject}' is valid from {proof.not_before}, and now is {now}",
        fix,
    )
    check(
        "proof.expired",
        now.replace(microsecond=0) <= proof.not_after,
        f"'{proof.subject}' was valid until {proof.not_after}, and now is {now}",
        fix,
    )


def _not_the_code(names: Sequence[str]) -> str:
    if len(names) == 1 and _IS_CODE.fullmatch(names[0]):
        return "a verification code that is void: each new code voids the one before, and so does each use"
    return "not the current verification code"
