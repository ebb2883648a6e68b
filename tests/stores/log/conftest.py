"""A log in a folder, and a listener that remembers what it was told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from moorage.errors import Unavailable


class RecordingListener:
    """Everything the log said, in order; `said` wakes whoever waits for the next word."""

    def __init__(self) -> None:
        self.durable: list[int] = []
        self.words: list[str] = []
        self.refusals: list[Unavailable] = []
        self._said = asyncio.Event()

    def log_durable(self, batch: int) -> None:
        self.durable.append(batch)
        self._say("durable")

    def log_failed(self, refusal: Unavailable) -> None:
        self.refusals.append(refusal)
        self._say("failed")

    def log_high_water(self) -> None:
        self._say("high")

    def log_low_water(self) -> None:
        self._say("low")

    async def until(self, word: str) -> None:
        """Wait until `word` is said after now."""
        seen = len(self.words)
        while word not in self.words[seen:]:
            self._said.clear()
            await self._said.wait()

    def _say(self, word: str) -> None:
        self.words.append(word)
        self._said.set()


@pytest.fixture
def listener() -> RecordingListener:
    return RecordingListener()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "log"
