"""Files of exported documents: a batch a file, a document a line, as it was composed.

    {address}/2030/01/31/12/05-00000000000000001234-8f1c2ab0.json   when it was written, the place of the first one, and
                                                                    what it holds: several exports may write here

Folders have to lie below the one that the setting `transfer_folder` names, as with any file that the hub writes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from moorage.adapters.endpoints.files import FileSink
from moorage.clock import Clock
from moorage.hub.router import Outgoing
from moorage.hub.routing_model import Endpoint

__all__ = ["DocumentFiles"]


class DocumentFiles(FileSink):
    """Port: `hub.router.Sink`. Raises as `FileSink`."""

    def __init__(self, endpoint: Endpoint, folder: Path | None, clock: Clock) -> None:
        super().__init__(endpoint, folder)
        self._clock = clock

    @property
    def linger_s(self) -> float:
        return float(self._endpoint.options.get("every", "5"))

    def _written(self, messages: Sequence[Outgoing]) -> tuple[str, bytes]:
        now = self._clock.now()
        data = b"".join(message.document + b"\n" for message in messages)
        digest = hashlib.sha256(data).hexdigest()[:8]
        return f"{now:%Y/%m/%d/%H/%M}-{max(messages[0].offset, 0):020d}-{digest}.json", data
