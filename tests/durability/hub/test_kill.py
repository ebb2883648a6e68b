"""kill -9 of a hub under load: nothing that it acknowledged is lost. `make chaos` does this fifty times."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.chaos.campaign import Campaign
from tests.chaos.messages import MessageLoad
from tests.hubs import Hub, running_hub

ROUNDS = 6


@pytest.mark.timeout(300)
async def test_nothing_acknowledged_is_lost_by_kill_9_under_load(tmp_path: Path) -> None:
    with running_hub(tmp_path / "hub") as hub:
        campaign = Campaign(hub, tmp_path, seed=2)
        for number in range(1, ROUNDS + 1):
            await campaign.round(least=5 * ROUNDS if number == ROUNDS else 0)
        await campaign.verify_all()


def cut_telemetry(hub: Hub, campaign: Campaign) -> None:
    """The second half of the newest segment."""
    segment = max((hub.data / "telemetry").glob("*.log"))
    with segment.open("r+b") as file:
        file.truncate(segment.stat().st_size // 2)


def in_registry(*statements: str) -> Callable[[Hub, Campaign], None]:
    def change(hub: Hub, campaign: Campaign) -> None:
        with closing(sqlite3.connect(hub.data / "registry.db")) as connection, connection:
            for statement in statements:
                assert connection.execute(statement).rowcount > 0, f"nothing to damage: {statement}"

    return change


def return_a_settled_message(hub: Hub, campaign: Campaign) -> None:
    (load,) = (load for load in campaign.loads if isinstance(load, MessageLoad))
    name, number = next((name, min(numbers)) for name, numbers in load.settled().items() if numbers)
    columns = "hub_id, module_id, message_id, enqueued, expires, properties, ack, delivery_count"
    in_registry(
        f"INSERT INTO messages (device_id, sequence, body, {columns}) "
        f"SELECT '{name}', 0, CAST('{number}' AS BLOB), {columns} FROM messages LIMIT 1"
    )(hub, campaign)


@pytest.mark.parametrize(
    ("damage", "noticed"),
    [
        (cut_telemetry, "were acknowledged"),
        (
            in_registry(
                "UPDATE twins SET reported_version = reported_version - 1 WHERE device_id = 'reporter-1'",
            ),
            "made version",
        ),
        (in_registry("DELETE FROM messages"), "are lost"),
        (return_a_settled_message, "came again"),
        (
            in_registry("UPDATE identities SET status_reason = 'other' WHERE device_id LIKE 'rest-0-device-%'"),
            "answered",
        ),
        (in_registry("DELETE FROM individual_enrollments"), "answered"),
        (in_registry("DELETE FROM cas"), "answered"),
    ],
    ids=["telemetry", "twin", "message", "settled", "device", "enrollment", "ca"],
)
async def test_what_is_lost_is_noticed(damage: Callable[[Hub, Campaign], None], noticed: str, tmp_path: Path) -> None:
    """The checks above can fail: each by what is taken away or put in while the hub is dead."""
    with running_hub(tmp_path / "hub") as hub:
        campaign = Campaign(hub, tmp_path, seed=3)
        with pytest.raises(AssertionError, match=noticed):
            # Enough of everything for there to be what is damaged.
            await campaign.round(least=60, before_start=lambda: damage(hub, campaign))
