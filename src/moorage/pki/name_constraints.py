"""Name constraints (RFC 5280 4.2.1.10): which names a CA may vouch for.

A constraint binds the names of its own form and no other. Forms evaluated: directory names against the subject, and DNS
names and IP addresses against the alternative names. A common name is a device id here and not a DNS name, so DNS
constraints do not reach it. Where a certificate holds a name of a form that is constrained but not evaluated, the
answer is no.

A directory name is permitted when it is spelled as the constraint is, and excluded whatever its case and its spaces
(RFC 5280 7.1): so neither rule lets through what a more lenient reader would stop.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from cryptography import x509

from moorage.pki.certificates import Certificate
from moorage.pki.distinguished_names import Attribute, DistinguishedName, parse_name

__all__ = ["MAX_COMPARISONS", "find_violation"]

# Names times constraints, for one CA over one certificate: both lists are the sender's to choose, and 16 KiB hold
# thousands of either. x509-limbo's `nc-dos` cases try it.
MAX_COMPARISONS: Final = 2048

_Network = IPv4Network | IPv6Network
# Directory names are compared as `distinguished_names` reads them: the library's own reader raises, or warns on
# standard error, for subjects that a stranger may choose.
_Name = x509.GeneralName | DistinguishedName


def find_violation(constraints: x509.NameConstraints, certificate: Certificate) -> str | None:
    """The first name in `certificate` that a CA with these constraints may not vouch for, in words; None when fine."""
    alt_names = certificate.extensions.alt_names
    # One more for the subject.
    count = 1 if alt_names is None else 1 + len(alt_names)
    subtrees = len(constraints.permitted_subtrees or ()) + len(constraints.excluded_subtrees or ())
    if count * subtrees > MAX_COMPARISONS:
        return f"{count} names against {subtrees} constraints are too many to compare"
    try:
        permitted = [_readable(subtree) for subtree in constraints.permitted_subtrees or ()]
        excluded = [_readable(subtree) for subtree in constraints.excluded_subtrees or ()]
        names = [_readable(name) for name in alt_names or ()]
    except ValueError as error:
        return f"a directory name cannot be read: {error}"
    if certificate.subject_name.relative_names:
        names.append(certificate.subject_name)
    for subtree in (*permitted, *excluded):
        if not _is_evaluated(subtree) and any(type(name) is type(subtree) for name in names):
            return f"constraints on names of the form {type(subtree).__name__} cannot be evaluated"
    for name in names:
        if any(_excludes(subtree, name) for subtree in excluded):
            return f"{_shown(name)} is excluded"
        same_form = [subtree for subtree in permitted if type(subtree) is type(name)]
        if same_form and not any(_permits(subtree, name) for subtree in same_form):
            return f"{_shown(name)} is outside {', '.join(_shown(subtree) for subtree in same_form[:4])}"
    return None


def _is_evaluated(subtree: _Name) -> bool:
    if isinstance(subtree, x509.DNSName):
        return not subtree.value.startswith(".") and "*" not in subtree.value
    return isinstance(subtree, x509.IPAddress | DistinguishedName)


def _readable(name: x509.GeneralName) -> _Name:
    """Raises `ValueError`."""
    return parse_name(name.value.public_bytes()) if isinstance(name, x509.DirectoryName) else name


def _permits(subtree: _Name, name: _Name) -> bool:
    if isinstance(subtree, x509.DNSName) and isinstance(name, x509.DNSName):
        return _is_below(name.value.lower().removeprefix("*."), subtree.value.lower())
    if isinstance(subtree, DistinguishedName) and isinstance(name, DistinguishedName):
        return name.relative_names[: len(subtree.relative_names)] == subtree.relative_names
    return _is_within(subtree, name)


def _excludes(subtree: _Name, name: _Name) -> bool:
    if isinstance(subtree, x509.DNSName) and isinstance(name, x509.DNSName):
        value, limit = name.value.lower(), subtree.value.lower()
        if value.startswith("*."):
            # The wildcard stands for names on both sides of the limit when the limit lies right below it.
            return _is_below(value[2:], limit) or _is_below(limit, value[2:])
        return _is_below(value, limit)
    if isinstance(subtree, DistinguishedName) and isinstance(name, DistinguishedName):
        limits = subtree.relative_names
        return [*map(_folded, name.relative_names[: len(limits)])] == [*map(_folded, limits)]
    return _is_within(subtree, name)


def _folded(relative_name: tuple[Attribute, ...]) -> set[tuple[str, str]]:
    return {(part.oid, " ".join(part.value.split()).casefold()) for part in relative_name}


def _is_within(subtree: _Name, name: _Name) -> bool:
    if isinstance(subtree, x509.IPAddress) and isinstance(name, x509.IPAddress):
        network, address = subtree.value, name.value
        return (
            isinstance(network, _Network)
            and isinstance(address, IPv4Address | IPv6Address)
            and address.version == network.version
            and address in network
        )
    return False


def _is_below(name: str, limit: str) -> bool:
    return limit == "" or name == limit or name.endswith("." + limit)


def _shown(name: _Name) -> str:
    return repr(name.rfc4514() if isinstance(name, DistinguishedName) else str(name.value))[:120]
