"""A hub that is asked through its Central API, by callers with API tokens of every role."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.central.world import Central, central_hub


@pytest.fixture
async def central(tmp_path: Path) -> AsyncIterator[Central]:
    async with central_hub(tmp_path) as central:
        yield central
