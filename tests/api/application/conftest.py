"""A hub that is asked through our own API of its application, by callers with API tokens of every role."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.application.world import Own, own_hub


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[Own]:
    async with own_hub(tmp_path) as own:
        yield own
