"""Refusals of a login in words: what was compared, what comes close to it, and the command that mends it.

Built only when somebody is kept out. Names and common names come from strangers: they are quoted and cut in messages,
and made safe for a shell where they are part of a command.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import Final

from moorage.errors import Check, Invalid, Unauthenticated
from moorage.identities.credentials import Presented
from moorage.identities.model import ByAuthority, ByThumbprint, Identity
from moorage.ids import CAName, DeviceId, HubId, IdentityName, ModuleId
from moorage.pki.certificates import Certificate, PeerChain
from moorage.pki.fixes import issuer_word
from moorage.pki.policy import PASSED, is_signed_by

__all__ = [
    "BEFORE_CREDENTIALS",
    "BY_AUTHORITY",
    "BY_OWN_KEY",
    "BY_POLICY",
    "BY_THUMBPRINT",
    "Exists",
    "certificate_missing",
    "certify_command",
    "checks_until",
    "mismatch",
    "passed",
    "token_missing",
    "under_authority",
    "unknown",
    "update_command",
    "wrong_thumbprint",
]

# The checks of each path, in the order in which they are made; a check is named by the reason of its refusal.
BEFORE_CREDENTIALS: Final[tuple[str, ...]] = ("identity.unknown", "identity.disabled", "identity.no_credential")
BY_THUMBPRINT: Final[tuple[str, ...]] = (
    *BEFORE_CREDENTIALS,
    "identity.certificate_missing",
    "identity.thumbprint",
)
_BEFORE_CHAIN: Final[tuple[str, ...]] = (*BEFORE_CREDENTIALS, "identity.certificate_missing")
_AFTER_CHAIN: Final[tuple[str, ...]] = ("identity.common_name", "identity.mismatch")
BY_AUTHORITY: Final[tuple[str, ...]] = (*_BEFORE_CHAIN, *(check.name for check in PASSED), *_AFTER_CHAIN)
BY_OWN_KEY: Final[tuple[str, ...]] = (
    *BEFORE_CREDENTIALS,
    "token.missing",
    "token.malformed",
    "sas.disabled_for_devices",
    "sas.disabled_for_modules",
    "token.signature",
    "token.expired",
    "token.audience",
)
BY_POLICY: Final[tuple[str, ...]] = (
    *BEFORE_CREDENTIALS,
    "token.malformed",
    "sas.disabled_for_devices",
    "sas.disabled_for_modules",
    "sas.disabled_for_policies",
    "token.policy_unknown",
    "token.signature",
    "token.expired",
    "token.audience",
    "token.policy_rights",
)

# Longer than any id; a common name has 64 characters by X.520, and up to a certificate's size in fact.
_SHOWN: Final = 140

Exists = Callable[[IdentityName], bool]


def checks_until(refusal: Unauthenticated, order: Sequence[str]) -> tuple[Check, ...]:
    """The checks of a path: passed up to the one that refused, and not reached after it."""
    checks: list[Check] = []
    passed: bool | None = True
    for name in order:
        if name == refusal.reason:
            checks.append(Check(name, False, refusal.message))
            passed = None
        else:
            checks.append(Check(name, passed))
    return tuple(checks)


def passed(order: Sequence[str]) -> tuple[Check, ...]:
    """The checks of a path that lets the peer in."""
    return tuple(Check(name, True) for name in order)


def under_authority(
    refusal: Unauthenticated,
    identity: Identity,
    chain: PeerChain,
    anchors: int,
    unproven: Sequence[tuple[CAName, Certificate]],
) -> Unauthenticated:
    """`refusal` with the checks of the whole path, and with what is known here of the CAs that were asked for.

    `anchors` is how many were trusted; `unproven` are registered CAs that would be, once their keys are shown.
    """
    if refusal.reason in _AFTER_CHAIN:
        refusal.checks = checks_until(refusal, BY_AUTHORITY)
        return refusal
    # What the validator looked at stands between what came before it and what was not reached.
    refusal.checks = (
        *(Check(name, True) for name in _BEFORE_CHAIN),
        *refusal.checks,
        *(Check(name, None) for name in _AFTER_CHAIN),
    )
    if refusal.reason not in ("chain.incomplete", "chain.untrusted", "chain.signature"):
        return _not_a_neighbours(refusal, identity.name, chain)
    group = identity.authentication.enrollment_group if isinstance(identity.authentication, ByAuthority) else None
    if group is not None:
        trusted = f"has {anchors}" if anchors else "has none now"
        why = (
            f"'{identity.name}' was made by enrollment group '{group}' and is judged by the verified certificates of "
            f"that group alone, which {trusted}"
        )
        fix = (
            f"moorage enrollment-group update {shlex.quote(group)} --secondary FILE, or --secondary-ca NAME for a "
            "group that refers to registered CAs"
        )
    else:
        waiting = _waiting_for_proof(chain, unproven)
        if waiting is None:
            return refusal
        why = f"The CA '{waiting}' is registered here, but nobody has shown possession of its key"
        fix = f"moorage ca code {waiting}"
    stop = "" if refusal.message.endswith("?") else "."
    return Unauthenticated(refusal.reason, f"{refusal.message}{stop} {why}", fix=fix, checks=refusal.checks)


def unknown(hub: HubId, name: IdentityName, presented: Presented, exists: Exists) -> Unauthenticated:
    """`identity.unknown`, with the identity that was probably meant."""
    leaf, common_name = _leaf_of(presented.chain)
    message = f"nothing named '{name}' is registered on hub '{hub}'"
    other = _respelled(name, common_name, exists)
    if other is not None:
        message += f"; '{other}' is, and ids are compared with case"
        return Unauthenticated("identity.unknown", message, fix=f"connect as '{other}'")
    if name.module_id is not None and exists(IdentityName(name.device_id)):
        message += f"; device '{name.device_id}' is, without that module"
    elif common_name is not None and common_name != str(name):
        message += f"; the certificate shown is for {_quoted(common_name)}"
    fix = f"moorage device create {shlex.quote(name.device_id)}"
    if leaf is None:
        fix += " --auth sas"
    elif leaf.is_self_issued:
        fix += f" --auth x509-thumbprint --primary-thumbprint {leaf.sha256}"
    else:
        fix += " --auth x509-ca"
    return Unauthenticated("identity.unknown", message, fix=fix + _module_option(name))


def mismatch(name: IdentityName, leaf: Certificate, common_name: str, exists: Exists) -> Unauthenticated:
    """`identity.mismatch`: T3, a CA-signed certificate that is somebody else's, or nearly."""
    wanted = str(name)
    message = f"the certificate is for {_quoted(common_name)}, the connection is for '{wanted}'; they have to be equal"
    if common_name.casefold() == wanted.casefold():
        message += ", and they differ only in upper and lower case"
    elif "".join(common_name.split()) == wanted:
        message += ", and they differ only in white space"
    elif _named(common_name, exists) is not None:
        message += ". That one is registered too: does the device use its neighbour's files, or its client id?"
    return Unauthenticated("identity.mismatch", message, fix=certify_command(name, leaf))


def certificate_missing(identity: Identity, presented: Presented) -> Unauthenticated:
    """`identity.certificate_missing`: T4, a token does not stand in for it."""
    wire = "selfSigned" if isinstance(identity.authentication, ByThumbprint) else "certificateAuthority"
    shown = "the password that was given is not its credential" if presented.token else "and nothing else was given"
    return Unauthenticated(
        "identity.certificate_missing",
        f"'{identity.name}' is registered as {wire}; no client certificate came in the TLS handshake, {shown}",
        fix="give the device's program its certificate and key, as its X.509 options",
    )


def token_missing(identity: Identity, presented: Presented) -> Unauthenticated:
    """`token.missing`: T4, a certificate does not stand in for it.

    Nothing here offers to take the certificate instead: it may be anybody's.
    """
    name = identity.name
    message = f"'{name}' is registered as sas; no token was given as the password"
    if presented.chain:
        message += f", and the client certificate that was shown, {_whose(presented.chain)}, is not its credential"
    if name.module_id is not None:
        fix = "connect with the module's own connection string, SharedAccessKey included"
    else:
        device_id = shlex.quote(name.device_id)
        fix = f"connect with the device's own connection string; its keys: moorage device show {device_id}"
    return Unauthenticated("token.missing", message, fix=fix)


def wrong_thumbprint(identity: Identity, authentication: ByThumbprint, chain: PeerChain) -> Unauthenticated:
    """`identity.thumbprint`, with both hashes of what came and both that are registered.

    The command that lets it in is given only for a certificate that names this identity.
    """
    sha256 = chain.leaf_sha256()
    message = (
        f"the certificate shown has SHA-1 {chain.leaf_sha1()} and SHA-256 {sha256}; registered for "
        f"'{identity.name}' are primary {authentication.primary or 'none'} and secondary "
        f"{authentication.secondary or 'none'}"
    )
    if _leaf_of(chain)[1] == str(identity.name):
        fix = update_command(identity.name, f"--secondary-thumbprint {sha256}")
    else:
        message += f"; the one shown is {_whose(chain)}"
        fix = f"check which certificate and key files the device uses: those it showed are {_whose(chain)}"
    return Unauthenticated("identity.thumbprint", message, fix=fix)


def update_command(name: IdentityName, options: str) -> str:
    """`moorage device update`, for a device or a module."""
    return f"moorage device update {shlex.quote(name.device_id)} {options}{_module_option(name)}"


def certify_command(name: IdentityName, shown: Certificate) -> str:
    """`moorage cert device`, for a device or a module, by the CA that issued `shown`.

    Without --force: it may have good files, and show its neighbour's.
    """
    return f"moorage cert device {shlex.quote(name.device_id)} --issuer {issuer_word(shown)}" + _module_option(name)


def _not_a_neighbours(refusal: Unauthenticated, name: IdentityName, chain: PeerChain) -> Unauthenticated:
    """Where a leaf is to be made anew: not that of somebody else, who may have a good one by now."""
    leaf, common_name = _leaf_of(chain)
    if leaf is None or common_name is None or common_name == str(name) or " --force" not in refusal.fix:
        return refusal
    message = f"{refusal.message}. It is for {_quoted(common_name)}, too, and not for '{name}'"
    return Unauthenticated(refusal.reason, message, fix=certify_command(name, leaf), checks=refusal.checks)


def _whose(chain: PeerChain) -> str:
    common_name = _leaf_of(chain)[1]
    return "for nobody by name" if common_name is None else f"for {_quoted(common_name)}"


def _module_option(name: IdentityName) -> str:
    return "" if name.module_id is None else f" --module {shlex.quote(name.module_id)}"


def _leaf_of(chain: PeerChain | None) -> tuple[Certificate | None, str | None]:
    """The leaf and its common name, as far as they can be read: they are hints here, not grounds."""
    if not chain:
        return None, None
    try:
        leaf = Certificate(chain.leaf)
    except Invalid:
        return None, None
    try:
        return leaf, leaf.common_name()
    except Invalid:
        return leaf, None


def _waiting_for_proof(chain: PeerChain, unproven: Sequence[tuple[CAName, Certificate]]) -> CAName | None:
    """The first unproven CA on the way up from the leaf, as far as the chain that was sent leads."""
    sent = chain.parse()
    last = sent[0]
    for _ in sent:
        for name, ca in unproven:
            if _signed(ca, last):
                return name
        issuer = next((each for each in sent if each != last and _signed(each, last)), None)
        if issuer is None:
            return None
        last = issuer
    return None


def _signed(ca: Certificate, certificate: Certificate) -> bool:
    return ca.raw_subject == certificate.raw_issuer and is_signed_by(certificate, ca)


def _respelled(name: IdentityName, common_name: str | None, exists: Exists) -> IdentityName | None:
    """Another spelling of `name` that exists. The registry compares with case, so only likely ones are tried."""
    wanted = str(name)
    likely = (common_name or wanted, wanted.lower(), wanted.upper(), wanted.capitalize(), wanted.title())
    for text in dict.fromkeys(likely):
        if text != wanted and text.casefold() == wanted.casefold():
            other = _named(text, exists)
            if other is not None:
                return other
    return None


def _named(text: str, exists: Exists) -> IdentityName | None:
    device_id, _, module_id = text.partition("/")
    name = IdentityName(DeviceId(device_id), ModuleId(module_id) if module_id else None)
    return name if exists(name) else None


def _quoted(text: str) -> str:
    return repr(text) if len(text) <= _SHOWN else repr(text[:_SHOWN]) + "..."
