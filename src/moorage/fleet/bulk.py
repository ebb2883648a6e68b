"""What somebody asks of many devices: which act, and which devices (contract/central.md LST-3 to LST-6, 10).

Pages and REST ask in the same words: an act with what it takes, and a filter of which each part may be ''.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from moorage.accounts.model import Actor, OrganizationId
from moorage.accounts.organizations import Organizations
from moorage.errors import Invalid
from moorage.fleet.model import STATES, UNASSIGNED, DeviceFilter, TemplateId
from moorage.fleet.operation_model import BulkAct, Item
from moorage.fleet.service import Fleet
from moorage.ids import DeviceId, parse_device_id

__all__ = ["ACT_WORDS", "CONNECTED_WORDS", "UNASSIGNED_WORD", "DeviceWords", "act_of", "in_batches"]

ACT_WORDS: Final = ("approve", "block", "unblock", "migrate", "organization", "attach", "detach", "delete")
# What stands for devices without a template; no template is called so.
UNASSIGNED_WORD: Final = "unassigned"
CONNECTED_WORDS: Final = MappingProxyType({"yes": True, "no": False})


class DeviceWords(NamedTuple):
    """Which devices; each '' is any, and so is what is no state and none of `CONNECTED_WORDS`. `organization` is that
    one and all below.
    """

    text: str = ""
    state: str = ""
    template: str = ""
    organization: str = ""
    connected: str = ""

    def wanted(self, organizations: Organizations) -> DeviceFilter:
        template = UNASSIGNED if self.template == UNASSIGNED_WORD else TemplateId(self.template)
        return DeviceFilter(
            self.text,
            next((state for state in STATES if state == self.state), None),
            template if self.template else None,
            organizations.subtree(OrganizationId(self.organization)) if self.organization else None,
            CONNECTED_WORDS.get(self.connected),
        )


def act_of(fleet: Fleet, organizations: Organizations, actor: Actor, word: str, to: str) -> tuple[str, BulkAct]:
    """The words for people, and the act. `to` is the template, organisation or gateway; what it names has to be there.

    Raises `Invalid` (`operations.act`, `id.device`), `NotFound` (`organization.unknown`, `device.unknown`).
    """
    match word:
        case "approve" | "block" | "unblock" | "delete" | "detach":
            return word.capitalize(), BulkAct(word)
        case "migrate":
            template = TemplateId(to)
            label = dict(fleet.templates()).get(template, template) or "Unassigned"
            return f"Migrate to {label}", BulkAct("migrate", template=template)
        case "organization":
            organization = organizations.choose(actor, to)
            label = fleet.organization_name(organization) or "the whole application"
            return f"Move to {label}", BulkAct("move", organization=organization)
        case "attach":
            gateway = parse_device_id(to.strip())
            fleet.get(actor, gateway)
            return f"Attach to {gateway}", BulkAct("attach", gateway=gateway)
        case _:
            raise Invalid("operations.act", f"{word[:40]!r} is nothing that is done to devices here")


async def in_batches(found: AsyncIterator[Sequence[DeviceId]]) -> AsyncIterator[Sequence[Item]]:
    """Of devices, what an operation works off."""
    async for device_ids in found:
        yield [Item(device_id) for device_id in device_ids]
