"""What an index and SQL make of a condition, against the evaluator on plain documents: the same rows, always."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path as FilePath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moorage.adapters.sqlite.database import open_database
from moorage.adapters.sqlite.sealing import Sealer
from moorage.adapters.sqlite.tables import AllTables
from moorage.clock import HandClock
from moorage.dialects.hub_json import Presence
from moorage.dialects.json_text import encode_json
from moorage.dialects.query_rows import TwinSource
from moorage.hub.configuration_model import Applied, ConfigurationId
from moorage.hub.model import Twin, TwinRows
from moorage.hub.query_rows import Key
from moorage.hub.twins import fresh_twin
from moorage.identities.model import (
    Authentication,
    ByAuthority,
    BySharedKey,
    ByThumbprint,
    Identity,
    NoCredential,
)
from moorage.ids import DEFAULT_HUB, DeviceId, HubId, IdentityName, ModuleId, Secret, Thumbprint
from moorage.query.evaluator import compile_expression
from moorage.query.syntax import ArrayOf, Call, Comparison, Constant, Expression, Membership, Not, Path
from tests.unit.query.expressions import POOL, expressions, leaves, members, names

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
KEY = Secret("a2V5a2V5a2V5a2V5a2V5a2V5")
A_PRINT, B_PRINT = Thumbprint("A" * 40), Thumbprint("B" * 64)
# Raised for a long search: MOORAGE_TEST_EXAMPLES=10000 pytest tests/stores/sqlite/test_queries.py
EXAMPLES = int(os.environ.get("MOORAGE_TEST_EXAMPLES", "100"))
CONFIGURATIONS = ("c1", "c2")
COLLECTIONS: tuple[TwinRows, ...] = ("devices", "devices.modules")


class Presences:
    """Who is connected, as a set."""

    def __init__(self) -> None:
        self.names: set[IdentityName] = set()

    def of(self, hub: HubId, name: IdentityName) -> Presence:
        return Presence(name in self.names)

    def connected(self, hub: HubId) -> list[IdentityName]:
        return list(self.names)


class World:
    """One database, whose every change is undone at the end of `fresh`."""

    def __init__(self, path: FilePath) -> None:
        self.connection = open_database(path)
        self.tables = AllTables(self.connection, Sealer(b"k" * 32))
        self.presence = Presences()
        clock = HandClock(NOW)
        self.sources = {rows: TwinSource(rows, self.presence, clock) for rows in COLLECTIONS}

    @contextmanager
    def fresh(self) -> Iterator[None]:
        self.connection.execute("BEGIN")
        try:
            yield
        finally:
            self.connection.execute("ROLLBACK")
            self.presence.names.clear()

    def documents(self, rows: TwinRows, names: list[IdentityName]) -> dict[Key, Mapping[str, Any]]:
        """What is shown of each, as plain JSON."""
        source = self.sources[rows]
        shown: dict[Key, Mapping[str, Any]] = {}
        for name in names:
            row = source.find(self.tables, DEFAULT_HUB, name)
            if row is not None:
                key = (name.device_id,) if name.module_id is None else (name.device_id, name.module_id)
                shown[key] = json.loads(encode_json(source.whole(row)))
        return shown

    def selected(self, rows: TwinRows, where: Expression, limit: int) -> list[Key]:
        """By candidates, piece after piece, and the evaluator."""
        evaluate, source = compile_expression(where), self.sources[rows]
        found: list[Key] = []
        after: Key | None = None
        while True:
            piece = source.piece(self.tables, DEFAULT_HUB, where, after, limit)
            assert len(piece.rows) <= limit
            found += [key for key, row in piece.rows if evaluate(row) is True]
            if piece.resume is None:
                return found
            assert after is None or piece.resume > after
            after = piece.resume

    def count(self, rows: TwinRows, where: Expression) -> int | None:
        return self.sources[rows].count(self.tables, DEFAULT_HUB, where)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    opened = World(tmp_path_factory.mktemp("queries") / "registry.db")
    yield opened
    opened.connection.close()


# -- generated hubs ----------------------------------------------------------------------------------------------------

_device_ids = st.sampled_from(["d", "d1", "d2", "D", "e", "e'", "f"])
_authentications: st.SearchStrategy[Authentication] = st.sampled_from(
    [
        BySharedKey(KEY, KEY),
        ByThumbprint(A_PRINT, None),
        ByThumbprint(A_PRINT, B_PRINT),
        ByThumbprint(B_PRINT, A_PRINT),
        ByAuthority(),
        NoCredential(),
    ]
)
_scopes = st.sampled_from([(None, ()), ("ms-azure-iot-edge://e-1", ()), ("s", ("p", "ms-azure-iot-edge://e-1"))])


@st.composite
def _identities(draw: st.DrawFn) -> Identity:
    device = DeviceId(draw(_device_ids))
    module = draw(st.sampled_from([None, None, ModuleId("m"), ModuleId("$edgeAgent")]))
    scope, parents = draw(_scopes) if module is None else (None, ())
    return Identity(
        DEFAULT_HUB,
        IdentityName(device, module),
        "1",
        1,
        draw(_authentications),
        NOW,
        draw(st.sampled_from(["enabled", "disabled"])),
        draw(st.sampled_from([None, "", "a", "b"])),
        is_edge=module is None and draw(st.booleans()),
        device_scope=scope,
        parent_scopes=parents,
    )


@st.composite
def _twins(draw: st.DrawFn, name: IdentityName) -> Twin:
    twin = fresh_twin(DEFAULT_HUB, name)
    return replace(
        twin,
        tags=draw(members),
        desired=replace(twin.desired, value=draw(members), version=draw(st.integers(1, 3))),
        reported=replace(twin.reported, value=draw(members), version=draw(st.integers(1, 3))),
        model_id=draw(st.sampled_from([None, "", "dtmi:a;1", "dtmi:b;1"])),
    )


def fill(world: World, data: st.DataObject) -> list[IdentityName]:
    identities = {each.name: each for each in data.draw(st.lists(_identities(), max_size=7))}
    for name, identity in sorted(identities.items(), key=lambda entry: str(entry[0])):
        world.tables.identities.put(identity)
        if data.draw(st.booleans()) or data.draw(st.booleans()):
            if data.draw(st.booleans()):
                world.tables.twins.put(data.draw(_twins(name)))
            world.tables.twins.put(data.draw(_twins(name)))
        for configuration in data.draw(st.sets(st.sampled_from(CONFIGURATIONS))):
            applied = Applied(data.draw(st.sampled_from(["Targeted", "Applied"])))
            world.tables.configurations.put_applied(DEFAULT_HUB, name, ConfigurationId(configuration), applied)
        if data.draw(st.booleans()):
            world.presence.names.add(name)
    return list(identities)


# -- generated conditions ----------------------------------------------------------------------------------------------

_below = st.lists(names, min_size=1, max_size=2).map(tuple)
_tags = st.builds(lambda below: Path(("tags", *below)), _below)
_sections = st.sampled_from(["desired", "reported"])
_properties = st.builds(lambda section, below: Path(("properties", section, *below)), _sections, _below)
_versions = st.builds(lambda section: Path(("properties", section, "$version")), _sections)
_configurations = st.builds(
    lambda configuration: Path(("configurations", configuration, "status")), st.sampled_from([*CONFIGURATIONS, "c3"])
)
_fields = st.sampled_from(
    [
        Path(("deviceId",)),
        Path(("moduleId",)),
        Path(("status",)),
        Path(("statusReason",)),
        Path(("authenticationType",)),
        Path(("modelId",)),
        Path(("deviceScope",)),
        Path(("parentScopes",)),
        Path(("capabilities", "iotEdge")),
        Path(("x509Thumbprint", "primaryThumbprint")),
        Path(("x509Thumbprint", "secondaryThumbprint")),
        Path(("connectionState",)),
        Path(("nothing",)),
        Path(("tags",)),
        Path(("properties", "desired")),
        Path(("version",)),
        Path(("etag",)),
    ]
)
_their_values: Any = st.builds(
    Constant,
    st.sampled_from(
        [
            *("d", "d1", "e", "m", "$edgeAgent", "enabled", "disabled", "a", "", "sas", "selfSigned", "none"),
            *("certificateAuthority", "dtmi:a;1", "s", "p", "ms-azure-iot-edge://e-1", A_PRINT, B_PRINT),
            *("Connected", "Disconnected", "Applied", "Targeted", None, True, False, 1, 2),
        ]
    ),
)
_paths = st.one_of(_tags, _properties, _versions, _fields, _configurations)
_of_fields = leaves(st.one_of(_fields, _versions, _configurations), _their_values)
_of_scopes: Any = st.sampled_from(["p", "s", "ms-azure-iot-edge://e-1"])
conditions = st.one_of(
    expressions(_paths, st.one_of(leaves(_tags), leaves(_properties), _of_fields)),
    expressions(_tags),
    expressions(_properties),
    expressions(_fields, _of_fields),
)


@pytest.mark.parametrize("rows", COLLECTIONS)
@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data())
def test_candidates_and_evaluator_select_what_the_evaluator_selects_of_all(
    world: World, rows: TwinRows, data: st.DataObject
) -> None:
    with world.fresh():
        documents = world.documents(rows, fill(world, data))
        where = data.draw(conditions)
        evaluate = compile_expression(where)
        expected = sorted(key for key, document in documents.items() if evaluate(document) is True)
        assert world.selected(rows, where, data.draw(st.integers(1, 4))) == expected
        assert world.count(rows, where) in (None, len(expected))


# -- every value against every other -----------------------------------------------------------------------------------

_ELSEWHERE: tuple[Any, ...] = ([], ["a"], {}, {"a": 1})


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, dict[Key, Mapping[str, Any]]]]:
    """A device for each value of the pool, which has it as a tag and reports it, and one that has neither."""
    world = World(tmp_path_factory.mktemp("pool") / "registry.db")
    found = []
    with world.fresh():
        for number, value in enumerate([*POOL, *_ELSEWHERE, None]):
            name = IdentityName(DeviceId(f"d{number:03d}"))
            world.tables.identities.put(Identity(DEFAULT_HUB, name, "1", 1, ByAuthority(), NOW))
            if value is not None:
                twin = fresh_twin(DEFAULT_HUB, name)
                reported = replace(twin.reported, value={"v": value})
                world.tables.twins.put(replace(twin, tags={"v": value}, reported=reported))
            found.append(name)
        yield world, world.documents("devices", found)
    world.connection.close()


@pytest.mark.parametrize("path", [Path(("tags", "v")), Path(("properties", "reported", "v"))], ids=str)
@pytest.mark.parametrize("constant", [*POOL, None], ids=lambda value: ascii(value)[:20])
def test_every_value_is_compared_as_the_evaluator_does(
    pool: tuple[World, dict[Key, Mapping[str, Any]]], path: Path, constant: Any
) -> None:
    world, documents = pool
    value = Constant(constant)
    signs: tuple[Any, ...] = ("=", "!=", "<", "<=", ">", ">=")
    conditions: list[Expression] = [Comparison(sign, path, value) for sign in signs]
    conditions += [Membership(path, ArrayOf((value, Constant("b"), Constant(7)))), Membership(path, ArrayOf((value,)))]
    conditions += [Call("STARTS_WITH", (path, value)), Call("CONTAINS", (path, value))]
    conditions += [Call(name, (path,)) for name in ("IS_DEFINED", "IS_BOOL", "IS_NUMBER", "IS_STRING", "IS_ARRAY")]
    for condition in (*conditions, *map(Not, conditions)):
        evaluate = compile_expression(condition)
        expected = [key for key, document in documents.items() if evaluate(document) is True]
        assert world.selected("devices", condition, 100) == expected, condition
        assert world.count("devices", condition) in (None, len(expected)), condition
