"""What a page says of a certificate that stands in several groups: through which of them devices come in (GRP-29)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from moorage.provisioning.anchors import Signer
from moorage.provisioning.model import EnrollmentGroup
from moorage.provisioning.shared_certificates import SharedCertificate

__all__ = ["group_name", "sharing_note"]

# So many groups are named; of more it is said how many.
_NAMED: Final = 5


def group_name(group: EnrollmentGroup) -> str:
    return group.display_name or group.group_id


def sharing_note(shared: SharedCertificate) -> str:
    """For the page of the group that holds `shared.own`."""
    where = f"The {shared.slot} certificate also stands in {_places(shared.others)}."
    decider, own = shared.deciding, shared.own
    if decider is None:
        return f"{where} It is verified in none of them, so it lets nobody in."
    if shared.decides:
        if not _is_first(shared):
            return (
                f"{where} It is verified here and in no older group: devices below it come in through here{_but(own)}"
            )
        return (
            f"{where} Of the groups where it is verified the one that was made first decides, which is this one: "
            f"devices below it come in through here{_but(own)}"
        )
    there = group_name(decider.group)
    if not own.is_proven:
        return f"{where} It is verified there and not here: devices below it come in through {there}{_but(decider)}"
    return (
        f"{where} Of the groups where it is verified the one that was made first decides, which is {there}: devices "
        f"below it come in through that one, and none through here{_but(decider)}"
    )


def _is_first(shared: SharedCertificate) -> bool:
    """Whether no group that holds it was made before."""
    first = shared.others[0].group
    own = shared.own.group
    return (own.created, own.group_id) < (first.created, first.group_id)


def _but(decider: Signer) -> str:
    """The end of the sentence: a group that is switched off lets nobody in, and hands nobody on."""
    return ". It is disabled, so they are refused." if decider.group.status == "disabled" else "."


def _places(others: Sequence[Signer]) -> str:
    named = [f"{group_name(each.group)} ({each.slot})" for each in others[:_NAMED]]
    if len(others) > _NAMED:
        named.append(f"{len(others) - _NAMED} more")
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"
