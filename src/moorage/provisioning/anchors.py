"""What enrollment groups trust: their signing certificates, or the CAs they refer to, and how changes of it are told.

A certificate stands for a group once it is proven or vouched for. Identities that a group made hang on the binding
`enrollment:{group}` (decisions T2); replacing a certificate in a roll cuts nobody, taking one away cuts what hung on it
(decisions T5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from moorage.certificates.model import CATable, Registry
from moorage.events import Event
from moorage.identities.trust import enrollment_binding
from moorage.ids import EnrollmentGroupId, HubId, Thumbprint
from moorage.pki.certificates import Certificate
from moorage.provisioning.model import (
    ByCAReferences,
    BySigningCertificates,
    EnrollmentGroup,
    ProvisioningTables,
    Slot,
)
from moorage.store import Store

__all__ = [
    "EnrollmentAnchors",
    "Signer",
    "anchor_changes",
    "how_to_prove",
    "signers_of",
    "trusted_slots",
    "vouching_certificates",
]

T = TypeVar("T")

_REGISTRIES: Final[tuple[Registry, ...]] = ("hub", "dps")
_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Signer:
    """One certificate that stands in a group's slot, by itself or by a CA reference."""

    group: EnrollmentGroup
    slot: Slot
    certificate: Certificate
    is_proven: bool


def how_to_prove(group_id: EnrollmentGroupId, slot: Slot) -> str:
    """The command that hands out a verification code for the group's own certificate in `slot`."""
    command = f"moorage enrollment-group code {group_id}"
    return command if slot == "primary" else f"{command} --slot {slot}"


class EnrollmentAnchors:
    """The `AnchorSource` for the bindings of enrollment groups."""

    def __init__(self, store: Store[ProvisioningTables]) -> None:
        self._store = store

    def anchors(self, hub: HubId, binding: str) -> Sequence[Certificate]:
        """What the group trusts now; empty when it is disabled or gone, or `binding` is not a group's."""
        tables = self._store.read()
        group = _find_group(tables, hub, binding)
        return () if group is None else tuple(dict.fromkeys(trusted_slots(group, tables.cas).values()))

    def intermediates(self, hub: HubId, binding: str) -> Sequence[Certificate]:
        """CAs registered for provisioning, for devices that send their leaf alone. A root completes no chain."""
        certificates = (ca.certificate for ca in self._store.read().cas.all(hub, "dps"))
        return tuple(certificate for certificate in certificates if not certificate.is_self_issued)


def vouching_certificates(tables: ProvisioningTables, hub: HubId) -> list[Certificate]:
    """Every CA certificate that an operator put here, proven or not: registered for either service, or a group's.

    To be called where reading a thousand groups is no harm.
    """
    found = [ca.certificate for registry in _REGISTRIES for ca in tables.cas.all(hub, registry)]
    after = ""
    while page := tables.groups.all(hub, _PAGE, after):
        found += [signer.certificate for group in page for signer in signers_of(group, tables.cas)]
        after = page[-1].group_id.lower()
    return list(dict.fromkeys(found))


def signers_of(group: EnrollmentGroup, cas: CATable) -> list[Signer]:
    """Every certificate of `group`, proven or not, whether or not the group is enabled."""
    found: list[Signer] = []
    match group.attestation:
        case BySigningCertificates(primary, secondary):
            for slot, signer in _slots(primary, secondary):
                if signer is not None:
                    found.append(Signer(group, slot, signer.certificate, signer.proof != "none"))
        case ByCAReferences(primary_name, secondary_name):
            for slot, name in _slots(primary_name, secondary_name):
                ca = cas.find(group.hub, "dps", name) if name is not None else None
                if ca is not None:
                    found.append(Signer(group, slot, ca.certificate, ca.is_verified))
        case _:
            pass
    return found


def trusted_slots(group: EnrollmentGroup, cas: CATable) -> dict[Slot, Certificate]:
    """What identities of `group` may hang on now; nothing while it is disabled."""
    if group.status == "disabled":
        return {}
    return {signer.slot: signer.certificate for signer in signers_of(group, cas) if signer.is_proven}


def anchor_changes(
    stored: EnrollmentGroup | None,
    group: EnrollmentGroup | None,
    before: Mapping[Slot, Certificate],
    after: Mapping[Slot, Certificate],
) -> Event | None:
    """The event for a change from `stored` to `group`, given what each trusts; None when trust did not change.

    `data["thumbprints"]` of `anchors.removed` are the SHA-256 of the certificates that are gone: sessions that hang on
    another certificate of the group stand. `data["all"]`: nothing is trusted any more, so that sessions end, too, that
    hang on what was replaced before.
    """
    either = group or stored
    kept = set(after.values())
    if either is None or set(before.values()) == kept:
        return None
    filled: set[Slot] = set()
    if group is not None and group.status == "enabled":
        match group.attestation:
            case BySigningCertificates() | ByCAReferences() as slots:
                filled = {slot for slot, held in _slots(slots.primary, slots.secondary) if held is not None}
            case _:
                pass
    slot_of = {certificate: slot for slot, certificate in after.items()}
    removed: list[Thumbprint] = []
    for slot, certificate in before.items():
        if slot in filled:
            continue
        # An emptied slot takes one certificate away: its own, or the one whose place its own has taken.
        gone = before.get(slot_of[certificate]) if certificate in slot_of else certificate
        if gone is not None and gone not in kept:
            removed.append(gone.sha256)
    binding = enrollment_binding(either.group_id)
    if removed:
        return Event("anchors.removed", either.hub, binding, {"thumbprints": removed, "all": not kept})
    return Event("anchors.replaced", either.hub, binding)


def _find_group(tables: ProvisioningTables, hub: HubId, binding: str) -> EnrollmentGroup | None:
    group_id = binding.partition(":")[2]
    if not group_id or binding != enrollment_binding(EnrollmentGroupId(group_id)):
        return None
    return tables.groups.find(hub, EnrollmentGroupId(group_id))


def _slots(primary: T, secondary: T) -> tuple[tuple[Slot, T], tuple[Slot, T]]:
    return ("primary", primary), ("secondary", secondary)
