"""One CA certificate in the slots of several groups (contract/central.md GRP-29): allowed, and told on each of them.

A device below it can come in through one group only. That is the group that was made first, of those where the
certificate is verified; when it is disabled the device is refused, and does not go on to the next one
(`attestation.Groups`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from moorage.ids import EnrollmentGroupId, HubId
from moorage.pki.certificates import Certificate
from moorage.provisioning.anchors import Signer, signers_of
from moorage.provisioning.model import EnrollmentGroup, ProvisioningTables, Slot

__all__ = ["SharedCertificate", "all_shared", "oldest_first", "shared_certificates"]

_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class SharedCertificate:
    """A certificate of one group that stands in others too.

    Attributes:
        own: where it stands in the group.
        others: where else, the group that was made first before the others.
        deciding: the slot through which devices below it come in; None while it is verified nowhere.
    """

    own: Signer
    others: tuple[Signer, ...]
    deciding: Signer | None

    @property
    def slot(self) -> Slot:
        return self.own.slot

    @property
    def decides(self) -> bool:
        return self.deciding is not None and self.deciding.group.group_id == self.own.group.group_id


def shared_certificates(signers: Sequence[Signer]) -> Mapping[EnrollmentGroupId, list[SharedCertificate]]:
    """By group, for groups that share one; `signers` are those of all groups, oldest group first."""
    holders: dict[Certificate, list[Signer]] = {}
    for signer in signers:
        holders.setdefault(signer.certificate, []).append(signer)
    found: dict[EnrollmentGroupId, list[SharedCertificate]] = {}
    for held in holders.values():
        deciding = next((signer for signer in held if signer.is_proven), None)
        for signer in held:
            others = tuple(each for each in held if each.group.group_id != signer.group.group_id)
            if others:
                found.setdefault(signer.group.group_id, []).append(SharedCertificate(signer, others, deciding))
    return found


def oldest_first(tables: ProvisioningTables, hub: HubId) -> list[EnrollmentGroup]:
    """All groups of a hub. To be called where reading a thousand groups is no harm."""
    groups: list[EnrollmentGroup] = []
    after = ""
    while page := tables.groups.all(hub, _PAGE, after):
        groups += page
        after = page[-1].group_id.lower()
    groups.sort(key=lambda group: (group.created, group.group_id))
    return groups


def all_shared(tables: ProvisioningTables, hub: HubId) -> Mapping[EnrollmentGroupId, list[SharedCertificate]]:
    """`shared_certificates` of a hub; for a thread."""
    return shared_certificates(
        [signer for group in oldest_first(tables, hub) for signer in signers_of(group, tables.cas)]
    )
