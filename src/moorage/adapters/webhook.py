"""Web hooks that say where a device goes, by the one way out."""

from __future__ import annotations

from typing import Final

from moorage.adapters.egress import Egress, Limits
from moorage.ids import Secret

__all__ = ["Webhooks"]

# A device polls meanwhile, and clients give up after a minute or two.
_TOTAL_S: Final = 15.0
# An enrollment's twin may have some tens of kilobytes, and a device may send 96 KiB along.
_REQUEST_BYTES: Final = 1024 * 1024


class Webhooks:
    """Posts JSON."""

    def __init__(self, egress: Egress, *, answer_bytes: int, total_s: float = _TOTAL_S) -> None:
        self._egress = egress
        self._limits = Limits(total_s, _REQUEST_BYTES, answer_bytes)

    async def post(self, url: Secret, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer. Raises as `Egress.stream`."""
        headers = [("content-type", "application/json; charset=utf-8"), ("accept", "application/json")]
        answer = await self._egress.request("POST", url.reveal(), headers=headers, body=body, limits=self._limits)
        return answer.status, answer.body
