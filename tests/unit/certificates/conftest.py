from __future__ import annotations

from tests.unit.identities.conftest import world

__all__ = ["world"]
