"""What a page of an indexed query costs does not grow with the hub: counted in steps of SQLite, not in time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path as FilePath

import pytest

from moorage.adapters.sqlite.database import open_database
from moorage.adapters.sqlite.sealing import Sealer
from moorage.adapters.sqlite.tables import AllTables
from moorage.hub.configuration_model import Applied, ConfigurationId
from moorage.hub.model import TwinRows
from moorage.hub.twins import initial_twin
from moorage.identities.model import ByAuthority, ByThumbprint, Identity
from moorage.ids import DEFAULT_HUB, DeviceId, IdentityName, ModuleId, Thumbprint
from moorage.query.parser import parse_condition

NOW = datetime(2026, 11, 23, tzinfo=UTC)
FEW, MANY = 1_000, 8_000
# Of the machine's steps; each handful is one call of the handler.
HANDFUL = 50


class Fleet:
    def __init__(self, path: FilePath, devices: int) -> None:
        self.connection = open_database(path)
        self.tables = AllTables(self.connection, Sealer(bytes(32)))
        self.connection.execute("BEGIN")
        for number in range(devices):
            self._put(number)
        self.connection.execute("COMMIT")

    def _put(self, number: int) -> None:
        tables, name = self.tables, IdentityName(DeviceId(f"device-{number:06d}"))
        by = ByThumbprint(Thumbprint(f"{number:040X}")) if number % 2 else ByAuthority()
        status, scope = ("disabled", "edge://1") if number % 50 == 7 else ("enabled", None)
        tables.identities.put(
            Identity(DEFAULT_HUB, name, "1", 1, by, NOW, status, is_edge=number % 50 == 8, device_scope=scope)  # type: ignore[arg-type]  # one of the two
        )
        tags = {"site": f"site-{number % 50}", "floor": number % 7, "serial": f"SN{number:06d}"}
        twin = initial_twin(DEFAULT_HUB, name, tags=tags, desired={}, now=NOW)
        tables.twins.put(replace(twin, model_id="dtmi:a;1" if number % 50 == 9 else None))
        if number % 50 == 10:
            tables.identities.put(
                Identity(DEFAULT_HUB, IdentityName(name.device_id, ModuleId("camera")), "1", 1, by, NOW)
            )
            tables.configurations.put_applied(DEFAULT_HUB, name, ConfigurationId("c"), Applied("Applied"))

    def cost(self, rows: TwinRows, condition: str | None, limit: int = 10) -> int:
        """Handfuls of steps that the first few candidates take, which have to be there."""
        where = None if condition is None else parse_condition(condition, rows).where
        steps = 0

        def count() -> int:
            nonlocal steps
            steps += 1
            return 0

        self.connection.set_progress_handler(count, HANDFUL)
        try:
            found = self.tables.queries.candidates(DEFAULT_HUB, rows, where, None, limit)
        finally:
            self.connection.set_progress_handler(None, 0)
        assert found.found
        return steps


@pytest.fixture(scope="module")
def fleets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fleet, Fleet]]:
    folder = tmp_path_factory.mktemp("costs")
    few, many = Fleet(folder / "few.db", FEW), Fleet(folder / "many.db", MANY)
    yield few, many
    few.connection.close()
    many.connection.close()


@pytest.mark.parametrize(
    ("rows", "condition"),
    [
        ("devices", None),
        ("devices", "deviceId = 'device-000500'"),
        ("devices", "deviceId IN ['device-000500', 'device-000600']"),
        ("devices", "deviceId > 'device-000500'"),
        ("devices", "STARTS_WITH(deviceId, 'device-0005')"),
        ("devices", "deviceId = 'device-000500' AND properties.reported.x != 1 OR deviceId = 'device-000007'"),
        ("devices", "tags.site = 'site-3'"),
        ("devices", "tags.site = 'site-3' AND tags.floor = 3"),
        ("devices", "tags.serial = 'SN000123'"),
        ("devices", "tags.serial IN ['SN000123', 'SN000124']"),
        ("devices", "STARTS_WITH(tags.serial, 'SN00012')"),
        ("devices", "tags.serial < 'SN000100'"),
        ("devices", "tags.serial = 'SN000123' OR tags.serial = 'SN000125'"),
        ("devices", "status = 'disabled'"),
        ("devices", "capabilities.iotEdge = true"),
        ("devices", "modelId = 'dtmi:a;1'"),
        ("devices", "deviceScope = 'edge://1'"),
        ("devices", f"x509Thumbprint.primaryThumbprint = '{501:040X}'"),
        ("devices", "configurations.c.status = 'Applied'"),
        ("devices.modules", "moduleId = 'camera'"),
        ("devices.modules", "deviceId = 'device-000510'"),
    ],
)
def test_an_indexed_page_costs_the_same_with_eight_times_the_devices(
    fleets: tuple[Fleet, Fleet], rows: TwinRows, condition: str | None
) -> None:
    few, many = (fleet.cost(rows, condition) for fleet in fleets)
    # An estimate counts the entries of an index, up to a bound.
    assert many <= 2 * few + 300
    assert many * HANDFUL < 5 * MANY


def test_a_page_without_an_index_does_cost_more(fleets: tuple[Fleet, Fleet]) -> None:
    few, many = (
        fleet.cost("devices", f"tags.serial > 'SN' AND ENDS_WITH(tags.serial, '{fleet_end}')", 1_000_000)
        for fleet, fleet_end in zip(fleets, ("0", "0"), strict=True)
    )
    assert many > 5 * few
