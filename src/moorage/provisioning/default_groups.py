"""The two groups that every application begins with (contract/central.md SAS-1 to SAS-4).

They are made once, at the first start. Somebody who deletes one wants it gone: a mark in the settings keeps a later
start from making it again.
"""

from __future__ import annotations

from typing import Final

from moorage.errors import Conflict, TooLarge
from moorage.ids import EnrollmentGroupId, HubId
from moorage.provisioning.drafts import GroupDraft, KeysDraft
from moorage.provisioning.enrollments import EnrollmentService
from moorage.provisioning.model import ProvisioningTables
from moorage.store import Store

__all__ = ["DEVICES", "EDGE_DEVICES", "make_default_groups"]

DEVICES: Final = EnrollmentGroupId("SAS-IoT-Devices")
EDGE_DEVICES: Final = EnrollmentGroupId("SAS-IoT-Edge-Devices")
_MADE: Final = "default_groups_made"


async def make_default_groups(hub: HubId, store: Store[ProvisioningTables], enrollments: EnrollmentService) -> None:
    """Make both with keys of their own, unless they were made before; one of that name that exists stays as it is."""
    if store.read().settings.get(_MADE, hub) is not None:
        return
    for group_id, is_edge in ((DEVICES, False), (EDGE_DEVICES, True)):
        draft = GroupDraft(group_id=group_id, attestation=KeysDraft(), is_edge=is_edge)
        try:
            await enrollments.put_group(draft, if_match=None, by="moorage")
        except (Conflict, TooLarge):
            # Somebody's own under that name, or a limit that leaves no room: neither keeps a hub from starting.
            continue
    await store.write(lambda tables: tables.settings.put(_MADE, "yes", hub))
