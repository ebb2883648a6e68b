"""The newest messages of a device, by the index and without it."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from moorage.adapters.series import SqliteSeries
from moorage.analytics.series import Pending, Progress, Series
from moorage.hub.telemetry_log import StoredMessage
from moorage.ids import DeviceId
from moorage.web.recent import RecentMessages
from tests import certs
from tests.servers.world import World

PUMP = DeviceId("pump-01")


def numbers(messages: list[StoredMessage]) -> list[int]:
    return [json.loads(message.body)["n"] for message in messages]


@pytest.mark.parametrize("is_indexed", [True, False])
async def test_messages_are_found_newest_first_and_page_by_page(world: World, is_indexed: bool) -> None:
    device = await world.connect("pump-01", await world.create_pinned("pump-01"))
    other = await world.connect("valve-1", await world.create_pinned("valve-1", certs.self_signed("valve-1")))
    for number in range(12):
        device.publish("devices/pump-01/messages/events/", b'{"n": %d}' % number)
        other.publish("devices/valve-1/messages/events/", b'{"n": 99}')
        await device.acks(1)
        await other.acks(1)
    series = world.app.application.series
    if not is_indexed:
        # As while it is made anew: nothing was read yet.
        empty = SqliteSeries(world.app.config.data / "empty.db")
        series = Series(empty, Pending(), Progress())
    recent = RecentMessages(world.app.log, series)
    since = world.clock.now() - timedelta(hours=1)
    first = await recent.find(PUMP, since, None, 5)
    assert (numbers(first.messages), first.is_whole) == ([11, 10, 9, 8, 7], True)
    second = await recent.find(PUMP, since, first.older, 5)
    assert numbers(second.messages) == [6, 5, 4, 3, 2]
    third = await recent.find(PUMP, since, second.older, 5)
    assert (numbers(third.messages), third.older) == ([1, 0], None)
    assert (await recent.find(PUMP, world.clock.now() + timedelta(hours=1), None, 5)).messages == []
    assert (await recent.find(DeviceId("nobody"), since, None, 5)).messages == []
    if not is_indexed:
        empty.close()
