"""What ids and names of rules, exports, jobs and manifests may be (contract/central.md 22.1)."""

from __future__ import annotations

import re
from typing import Final

from moorage.errors import Invalid

__all__ = ["check_id", "check_name"]

_MAX_NAME: Final = 100
_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,255}")


def check_id(text: str, reason: str) -> str:
    """`text` itself. Raises `Invalid` (`reason`)."""
    if not _ID.fullmatch(text):
        raise Invalid(reason, f"{text[:80]!r} is no id: 1 to 255 letters, digits, hyphens and underscores")
    return text


def check_name(name: str, reason: str, most: int = _MAX_NAME) -> None:
    """Raises `Invalid` (`reason`)."""
    if not name.strip() or len(name) > most or not name.isprintable():
        told = "nothing but spaces" if name and not name.strip() else len(name)
        raise Invalid(reason, f"a name has 1 to {most} characters on one line, this has {told}")
