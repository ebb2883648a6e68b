"""What mends a refused chain, as a command: with the names that the certificates themselves give.

The names come from strangers. One that is no plain word stays the placeholder that it would replace, so that nothing
which is copied into a shell does more than it says.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from moorage.errors import Invalid
from moorage.pki.certificates import Certificate
from moorage.pki.distinguished_names import DistinguishedName
from moorage.pki.names import certificate_files, file_stem
from moorage.pki.requirements import Asked

__all__ = [
    "issuer_word",
    "new_ca",
    "new_ca_and_leaf",
    "new_leaf",
    "new_leaf_elsewhere",
    "new_pinned",
    "register_root",
    "send_intermediates",
    "set_clock",
    "set_clocks",
]

# What neither a shell nor an option parser takes for anything but a word; a module's `device/module` is one.
_WORD = re.compile(r"[A-Za-z0-9_][\w.:@%+=/-]{0,139}", re.ASCII)
# More names than this are not read.
_FEW = 3

_REGISTER = "moorage ca add FILE --prove-with KEY"


def new_leaf(certificate: Certificate, asked: Asked) -> str:
    """The same device, the same CA. The files exist, and what is in them is of no use: so they are written over."""
    if certificate.is_self_issued:
        return f"moorage cert device {_device(certificate)} --issuer CA --force"
    return f"moorage cert device {_device(certificate)} --issuer {issuer_word(certificate)} --force"


def new_leaf_elsewhere(certificate: Certificate, asked: Asked) -> str:
    """The CA in question may not vouch for this device; which one may is not known here."""
    leaf = asked.below[0] if asked.below else None
    return f"moorage cert device {'ID' if leaf is None else _device(leaf)} --issuer CA --force"


def new_pinned(certificate: Certificate, asked: Asked) -> str:
    if certificate.is_self_issued:
        return f"moorage cert device {_device(certificate)} --force"
    return new_leaf(certificate, asked)


def new_ca(certificate: Certificate, asked: Asked) -> str:
    """Never over the files that exist: with its key a CA would lose all that it has signed."""
    name = _name(certificate.subject_name)
    if not certificate.is_ca and not asked.below and not certificate.is_self_issued:
        # Somebody took a device's certificate for that of the CA that signed it.
        signer = _name(certificate.issuer_name)
        return f"send the certificate of the CA that signed it{f', {signer}' if signer else ''}"
    if name is None or not certificate.is_ca:
        return "moorage cert intermediate NAME --issuer CA"
    if certificate.is_self_issued:
        return f"moorage cert root {name}"
    return f"moorage cert intermediate {name} --issuer {issuer_word(certificate)}"


def new_ca_and_leaf(revoked: Certificate, leaf: Certificate) -> str:
    """For a CA on the path that is revoked: what it has signed is of no use, and it may sign nothing more."""
    return (
        f"moorage cert intermediate NAME --issuer {issuer_word(revoked)}, then "
        f"moorage cert device {_device(leaf)} --issuer NAME --force; all that the revoked CA has signed needs it"
    )


def set_clocks(certificate: Certificate, asked: Asked) -> str:
    return "set the clock of the device and of this machine"


def set_clock(certificate: Certificate, asked: Asked) -> str:
    return "set the clock of this machine"


def send_intermediates(leaf: Certificate, last: Certificate) -> str:
    """`last` is where the chain breaks off."""
    device, missing = _stem(leaf.subject_name), _stem(last.issuer_name)
    file = "FILE" if missing is None else certificate_files(missing).certificate
    sent = "certificate with all intermediates" if device is None else certificate_files(device).fullchain
    return f"configure the device with its {sent}, or register the intermediate: moorage ca add {file}"


def register_root(root: Certificate, anchors: Sequence[Certificate]) -> str:
    """For a complete chain that ends in a stranger."""
    stem = _stem(root.subject_name)
    files = None if stem is None else certificate_files(stem)
    register = f"moorage ca add {files.certificate} --prove-with {files.key}" if files else _REGISTER
    if not anchors:
        return register
    names = [_name(anchor.subject_name) or f"'{anchor.subject}'" for anchor in anchors]
    which = f": {', '.join(dict.fromkeys(names))}" if len(names) <= _FEW else ""
    return (
        f"give the device a certificate of a CA that is trusted here{which}; only if '{root.subject}' is meant to be "
        f"trusted too: {register}"
    )


def issuer_word(certificate: Certificate) -> str:
    """The issuer as `--issuer` takes it."""
    return _name(certificate.issuer_name) or "CA"


def _device(leaf: Certificate) -> str:
    name = _name(leaf.subject_name)
    if name is None:
        return "ID"
    device_id, _, module_id = name.partition("/")
    return f"{device_id} --module {module_id}" if module_id else device_id


def _name(name: DistinguishedName) -> str | None:
    """The common name, quoted where it has spaces; None when there is not exactly one, or no plain one."""
    names = name.common_names()
    if len(names) != 1 or not _WORD.fullmatch(names[0].replace(" ", "_")):
        return None
    return f"'{names[0]}'" if " " in names[0] else names[0]


def _stem(name: DistinguishedName) -> str | None:
    if _name(name) is None:
        return None
    try:
        return file_stem(name.common_names()[0])
    except Invalid:
        return None
