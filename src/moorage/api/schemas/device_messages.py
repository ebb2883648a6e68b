"""What devices send and receive over HTTPS (contract/devices.md 5)."""

from __future__ import annotations

from typing import Final

from moorage.api.schemas.words import ANYTHING, Content

__all__ = ["BATCH_OR_BODY", "BODY"]

BODY: Final = Content("application/octet-stream", ANYTHING)
# By the content type: any bytes, or an array of messages.
BATCH_OR_BODY: Final = Content("*/*", ANYTHING)
