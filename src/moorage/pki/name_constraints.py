"""Name constraints (RFC 5280 4.2.1.10): which names a CA may vouch for.

A constraint binds the names of its own form and no other. Directory names are compared with the subject, and DNS names,
IP addresses, mail addresses and URIs with the alternative names; mail addresses with those in the subject as well. A
common name is a device id here and not a DNS name, so DNS constraints do not reach it. Where a certificate holds a name
of a form that is constrained but not evaluated, or one that is constrained and misspelt, the answer is no.

A directory name is permitted when it is spelled as the constraint is, and excluded whatever its case and its spaces
(RFC 5280 7.1): so neither rule lets through what a more lenient reader would stop.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from cryptography import x509

from moorage.pki.certificates import Certificate
from moorage.pki.distinguished_names import DistinguishedName, FoldedName, parse_name

__all__ = ["MAX_COMPARISONS", "find_violation"]

# Names times constraints, for one CA over one certificate: both lists are the sender's to choose, and 16 KiB hold
# thousands of either. x509-limbo's `nc-dos` cases try it.
MAX_COMPARISONS: Final = 2048

_Network = IPv4Network | IPv6Network


class _DirectoryName(NamedTuple):
    name: DistinguishedName
    # Folding costs what the name's author wishes, so it is done once.
    folded: FoldedName


# Directory names are compared as `distinguished_names` reads them: the library's own reader raises, or warns on
# standard error, for subjects that a stranger may choose.
_Name = x509.GeneralName | _DirectoryName
# RFC 1123 2.1, and the underscore that names of services and devices have.
_HOST = re.compile(
    r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
)


def find_violation(constraints: x509.NameConstraints, certificate: Certificate) -> str | None:
    """The first name in `certificate` that a CA with these constraints may not vouch for, in words; None when fine."""
    alt_names = certificate.extensions.alt_names
    mail_names = certificate.subject_name.mail_addresses()
    # One more for the subject.
    count = (0 if alt_names is None else len(alt_names)) + len(mail_names) + 1
    subtrees = len(constraints.permitted_subtrees or ()) + len(constraints.excluded_subtrees or ())
    if count * subtrees > MAX_COMPARISONS:
        return f"{count} names against {subtrees} constraints are too many to compare"
    try:
        permitted = [_readable(subtree) for subtree in constraints.permitted_subtrees or ()]
        excluded = [_readable(subtree) for subtree in constraints.excluded_subtrees or ()]
        names = [_readable(name) for name in alt_names or ()]
        if any(isinstance(subtree, x509.RFC822Name) for subtree in (*permitted, *excluded)):
            names += [x509.RFC822Name(address) for address in mail_names]
    except ValueError as error:
        return f"a name cannot be read: {error}"
    if certificate.subject_name.relative_names:
        names.append(_DirectoryName(certificate.subject_name, certificate.subject_key))
    constrained = {type(subtree) for subtree in (*permitted, *excluded)}
    for subtree in (*permitted, *excluded):
        if not _is_evaluated(subtree) and any(type(name) is type(subtree) for name in names):
            return f"constraints on names of the form {type(subtree).__name__} cannot be evaluated"
    for name in names:
        if type(name) in constrained and not _is_well_formed(name):
            return f"{_shown(name)} is no name of its form, so that its constraints cannot be evaluated"
        if any(_matches(subtree, name, permits=False) for subtree in excluded):
            return f"{_shown(name)} is excluded"
        same_form = [subtree for subtree in permitted if type(subtree) is type(name)]
        if same_form and not any(_matches(subtree, name, permits=True) for subtree in same_form):
            return f"{_shown(name)} is outside {', '.join(_shown(subtree) for subtree in same_form[:4])}"
    return None


def _is_evaluated(subtree: _Name) -> bool:
    """Whether a constraint is one of RFC 5280's, so that it means one thing to everybody."""
    if isinstance(subtree, x509.DNSName):
        return subtree.value == "" or _is_host(subtree.value)
    if isinstance(subtree, x509.RFC822Name):
        return _is_mail_address(subtree.value) or _is_host(subtree.value.removeprefix("."))
    if isinstance(subtree, x509.UniformResourceIdentifier):
        return _is_host(subtree.value.removeprefix("."))
    return isinstance(subtree, x509.IPAddress | _DirectoryName)


def _is_well_formed(name: _Name) -> bool:
    if isinstance(name, x509.DNSName):
        return _is_host(name.value.removeprefix("*."))
    if isinstance(name, x509.RFC822Name):
        return _is_mail_address(name.value)
    if isinstance(name, x509.UniformResourceIdentifier):
        return _host_of(name.value) is not None
    return True


def _readable(name: x509.GeneralName) -> _Name:
    """Raises `ValueError`."""
    if not isinstance(name, x509.DirectoryName):
        return name
    parsed = parse_name(name.value.public_bytes())
    return _DirectoryName(parsed, parsed.folded)


def _matches(subtree: _Name, name: _Name, *, permits: bool) -> bool:
    """Whether `name` lies in `subtree`. In doubt it does for one that excludes, and does not for one that permits."""
    if isinstance(subtree, _DirectoryName) and isinstance(name, _DirectoryName):
        count = len(subtree.folded)
        if permits:
            return name.name.relative_names[:count] == subtree.name.relative_names
        return name.folded[:count] == subtree.folded
    if isinstance(subtree, x509.DNSName) and isinstance(name, x509.DNSName):
        value, limit = name.value.lower(), subtree.value.lower()
        if not value.startswith("*."):
            return _is_below(value, limit)
        # The wildcard stands for names on both sides of a limit that lies right below it.
        return _is_below(value[2:], limit) or (not permits and _is_below(limit, value[2:]))
    if isinstance(subtree, x509.RFC822Name) and isinstance(name, x509.RFC822Name):
        mailbox, _, host = name.value.rpartition("@")
        wanted, at, limit = subtree.value.rpartition("@")
        if at and (mailbox != wanted if permits else mailbox.lower() != wanted.lower()):
            return False
        return host.lower() == limit.lower() if at else _is_host_within(host, limit)
    if isinstance(subtree, x509.UniformResourceIdentifier) and isinstance(name, x509.UniformResourceIdentifier):
        return _is_host_within(_host_of(name.value) or "", subtree.value)
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


def _is_host_within(host: str, limit: str) -> bool:
    """Mail addresses and URIs: `example.com` is that host alone, `.example.com` every host below it."""
    host, limit = host.lower(), limit.lower()
    return host.endswith(limit) and host != limit if limit.startswith(".") else host == limit


def _is_host(text: str) -> bool:
    return len(text) <= 253 and _HOST.fullmatch(text) is not None


def _is_mail_address(text: str) -> bool:
    mailbox, at, host = text.partition("@")
    return at != "" and mailbox != "" and _is_host(host)


def _host_of(uri: str) -> str | None:
    """The host of a URI where it is a name; addresses and URIs without an authority cannot be constrained."""
    try:
        host = urlsplit(uri).hostname
    except ValueError:
        return None
    return host if host and _is_host(host) and not host.replace(".", "").isdigit() else None


def _shown(name: _Name) -> str:
    return repr(name.name.rfc4514() if isinstance(name, _DirectoryName) else str(name.value))[:120]
