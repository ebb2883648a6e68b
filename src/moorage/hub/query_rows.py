"""Where the rows of a query come from: the port of collections. That of stored twins is in `hub/model.py`.

A source hands out candidates in pieces. It may leave out rows that cannot satisfy the condition, if it knows an index
for that, and need not: the evaluator looks at every candidate again (decisions S10). Work is given to it inside of a
`Store.scan`, in a thread, so it is plain and synchronous.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from moorage.ids import HubId
from moorage.query.syntax import Expression, Row

__all__ = ["Key", "Piece", "RowSource"]

Tables_contra = TypeVar("Tables_contra", contravariant=True)

# What orders the rows of a collection and names one of them: (device id, module id), (job id, device id), ...
Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """Candidates in order of their keys. `resume` is the key to go on behind; None when nothing is left.

    A piece may hold fewer rows than were asked for, or none, and still not be the last.
    """

    rows: Sequence[tuple[Key, Row]]
    resume: Key | None


class RowSource(Protocol[Tables_contra]):
    """The rows of one collection (`devices.jobs`, ...)."""

    @property
    def item_type(self) -> str:
        """`x-ms-item-type` of whole rows: `Twin`, `DeviceJob` (contract/services.md Q-3)."""

    def piece(
        self,
        tables: Tables_contra,
        hub: HubId,
        where: Expression | None,
        after: Key | None,
        limit: int,
        shown: Sequence[Expression] = (),
    ) -> Piece:
        """At most `limit` candidates behind `after`; all that may satisfy `where` are among those of all pieces.

        `shown` is what else is asked of every row, to be read along with it.

        A row is the whole document as it is shown; it may make its members when they are asked for, and is not looked
        at after the scan.
        """

    def whole(self, row: Row) -> Mapping[str, Any]:
        """The row as `SELECT *` shows it."""

    def count(self, tables: Tables_contra, hub: HubId, where: Expression | None) -> int | None:
        """How many satisfy `where`, when an index tells exactly; None when it takes looking at them."""
