from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from .world import DpsWorld, open_dps


@pytest.fixture
async def dps(tmp_path: Path) -> AsyncIterator[DpsWorld]:
    async with open_dps(tmp_path) as opened:
        yield opened
