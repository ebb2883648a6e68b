"""One hub for all cases that leave what they share as it was, on the loop that moorage runs on."""

from __future__ import annotations

from tests.servers.conftest import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]
