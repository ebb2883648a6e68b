"""hub.json, kept true while policies change."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from moorage.adapters.bus import LocalBus
from moorage.adapters.hub_file import HubFile
from moorage.errors import Unavailable
from moorage.events import Event
from moorage.hub_info import HubInfo, read_hub_info
from moorage.ids import DEFAULT_HUB, Secret

CHANGED = Event("policies.changed", DEFAULT_HUB, "hub")


class Described:
    def __init__(self, data: Path) -> None:
        self.info = HubInfo(
            ("localhost",), "127.0.0.1", 8883, 443, "0ne1", data, data / "ca", Secret("k1"), Secret("k2"), 1
        )

    def __call__(self) -> HubInfo:
        return self.info

    def roll(self, key: str) -> None:
        self.info = replace(self.info, hub_key=Secret(key))


async def told(bus: LocalBus, event: Event = CHANGED) -> None:
    bus.publish(event)
    await asyncio.sleep(0)


async def test_a_changed_key_is_in_the_answer_at_once_and_in_the_file_once_it_settled(tmp_path: Path) -> None:
    bus, describe = LocalBus(), Described(tmp_path)
    file = HubFile(tmp_path / "hub.json", describe)
    with pytest.raises(Unavailable):
        file.info()
    assert file.publish(bus) == describe.info == read_hub_info(tmp_path)
    for key in ("k3", "k4", "k5"):
        describe.roll(key)
        await told(bus)
        assert file.info().hub_key.reveal() == key
    await file.settled()
    assert read_hub_info(tmp_path).hub_key.reveal() == "k5"
    await file.close()
    describe.roll("k6")
    await told(bus)
    assert file.info().hub_key.reveal() == "k5"


async def test_what_does_not_concern_it_writes_nothing(tmp_path: Path) -> None:
    bus, describe = LocalBus(), Described(tmp_path)
    file = HubFile(tmp_path / "hub.json", describe)
    file.publish(bus)
    (tmp_path / "hub.json").unlink()
    await told(bus)
    describe.roll("k3")
    await told(bus, Event("identity.created", DEFAULT_HUB, "pump"))
    await file.close()
    assert not (tmp_path / "hub.json").exists()


async def test_a_disk_that_does_not_take_it_is_said_and_holds_nobody_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bus, describe = LocalBus(), Described(tmp_path)
    folder = tmp_path / "folder"
    folder.mkdir()
    file = HubFile(folder / "hub.json", describe)
    file.publish(bus)
    (folder / "hub.json").unlink()
    folder.rmdir()
    describe.roll("k3")
    with caplog.at_level(logging.ERROR):
        await told(bus)
        await file.settled()
    assert "hub_file_not_written" in caplog.text and "k3" not in caplog.text
    assert file.info().hub_key.reveal() == "k3"
    folder.mkdir()
    describe.roll("k4")
    await told(bus)
    await file.close()
    assert '"k4"' in (folder / "hub.json").read_text()
