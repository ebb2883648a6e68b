"""Which identities a condition selects: what jobs and configurations ask of the query language.

A condition is the text behind WHERE (contract/services.md 2.9); `*` selects all and the empty text nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from moorage.hub.model import HubTables
from moorage.ids import HubId, IdentityName

__all__ = ["Collection", "Targets"]

Collection = Literal["devices", "devices.modules"]


class Targets(Protocol):
    """Conditions over the twins of one hub, as they are now."""

    def check(self, condition: str, collection: Collection) -> None:
        """Raises `Invalid` (`query.*`), pointing at the token, when `condition` is none."""

    def matches(
        self, tables: HubTables, hub: HubId, condition: str, collection: Collection, name: IdentityName
    ) -> bool:
        """Whether the identity is selected; False when there is none. For use inside a transaction."""

    async def select(
        self, hub: HubId, condition: str, collection: Collection, *, after: IdentityName | None, limit: int
    ) -> Sequence[IdentityName]:
        """Up to `limit` of the selected, in order of their names, behind `after`.

        Fewer than `limit` means that there are no more.
        """
