"""Name constraints (RFC 5280 4.2.1.10): which names a CA may vouch for.

A constraint binds the names of its own form and no other. Forms evaluated: directory names against the subject, and DNS
names and IP addresses against the alternative names. A common name is a device id here and not a DNS name, so DNS
constraints do not reach it. Where a certificate holds a name of a form that is constrained but not evaluated, the
answer is no.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from cryptography import x509

from moorage.pki.certificates import Certificate

__all__ = ["MAX_COMPARISONS", "find_violation"]

# Names times constraints, for one CA over one certificate: both lists are the sender's to choose, and 16 KiB hold
# thousands of either. x509-limbo's `nc-dos` cases try it.
MAX_COMPARISONS: Final = 2048

_Network = IPv4Network | IPv6Network
_Name = x509.GeneralName


def find_violation(constraints: x509.NameConstraints, certificate: Certificate) -> str | None:
    """The first name in `certificate` that a CA with these constraints may not vouch for, in words; None when fine."""
    permitted = constraints.permitted_subtrees or []
    excluded = constraints.excluded_subtrees or []
    alt_names = certificate.extensions.alt_names
    names: list[_Name] = list(alt_names) if alt_names is not None else []
    if certificate.subject_name.relative_names:
        names.append(x509.DirectoryName(certificate.x509.subject))
    if len(names) * (len(permitted) + len(excluded)) > MAX_COMPARISONS:
        return f"{len(names)} names against {len(permitted) + len(excluded)} constraints are too many to compare"
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
    return isinstance(subtree, x509.IPAddress | x509.DirectoryName)


def _permits(subtree: _Name, name: _Name) -> bool:
    if isinstance(subtree, x509.DNSName) and isinstance(name, x509.DNSName):
        return _is_below(name.value.lower().removeprefix("*."), subtree.value.lower())
    return _contains(subtree, name)


def _excludes(subtree: _Name, name: _Name) -> bool:
    if isinstance(subtree, x509.DNSName) and isinstance(name, x509.DNSName):
        value, limit = name.value.lower(), subtree.value.lower()
        if value.startswith("*."):
            # The wildcard stands for names on both sides of the limit when the limit lies right below it.
            return _is_below(value[2:], limit) or _is_below(limit, value[2:])
        return _is_below(value, limit)
    return _contains(subtree, name)


def _contains(subtree: _Name, name: _Name) -> bool:
    if isinstance(subtree, x509.DirectoryName) and isinstance(name, x509.DirectoryName):
        limit = subtree.value.rdns
        return name.value.rdns[: len(limit)] == limit
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
    return repr(str(name.value))[:120]
