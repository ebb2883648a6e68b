"""What the Central API tells of dashboards, exports and jobs can be sent back as it is, and is the same then."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from moorage.accounts.model import OrganizationId
from moorage.analytics.boards import TILE_KINDS, Board, Dashboard, Threshold, Tile
from moorage.analytics.explorer import Measure, Question
from moorage.automation.exports import DataExport, DestinationId, DestinationUse, MessageFilter, parse_export_id
from moorage.automation.filters import OPERATORS, PropertyFilter
from moorage.automation.jobs import JobData, JobDraft
from moorage.dialects.central_dashboards import dashboard_json, parse_tiles
from moorage.dialects.central_exports import changed_export, export_json
from moorage.dialects.central_jobs import draft_json, parse_job
from moorage.errors import Invalid
from moorage.ids import DEFAULT_HUB

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ROOT = OrganizationId("")
COLOURS = (Threshold(-1.5, "good"), Threshold(20, "warn"), Threshold(30, "bad"))
PUMP = "dtmi:example:Pump;1"


@pytest.mark.parametrize("kind", TILE_KINDS)
@pytest.mark.parametrize(
    "tile",
    [
        Tile("t1", "label"),
        Tile("t2", "label", "Title", 1, 2, 3, 4, Question(group="pumps", minutes=30, by="$id"), decimals=0),
        Tile("t3", "label", question=Question(devices=("a", "b"), minutes=180), is_abbreviated=True),
        Tile("t4", "label", thresholds=COLOURS, text="Hall", query="q1", image="i1", command="motor.start"),
    ],
    ids=["bare", "of a group", "of devices", "of much"],
)
def test_a_tile_is_the_same_again(kind: Any, tile: Tile) -> None:
    measures = (Measure("motor", "speed", "maximum"), Measure("", "a.b", "average"))
    wanted = replace(tile, kind=kind)
    if kind in ("property", "property_map"):
        wanted = replace(wanted, paths=("limit", "motor.limit"))
    elif tile.question != Question():
        wanted = replace(wanted, question=replace(tile.question, measures=measures, step=5))
    board = Board(DEFAULT_HUB, "b", "Board", "", ROOT, Dashboard((wanted,)), NOW)
    document = dashboard_json(board)["tiles"]

    def split(_group: str, path: str) -> tuple[str, str]:
        return ("motor", path.removeprefix("motor.")) if path.startswith("motor.") else ("", path)

    assert parse_tiles(document, split).tiles == (wanted,)


@pytest.mark.parametrize("thresholds", [{}, [{"from": 1}], [{"from": True, "color": "bad"}], [{}] * 4, [3]])
def test_what_is_no_colour_by_value(thresholds: Any) -> None:
    tile = {"configuration": {"type": "kpi", "format": {"thresholds": thresholds or {"a": 1}}}}
    with pytest.raises(Invalid, match="thresholds"):
        parse_tiles([tile], lambda _group, path: ("", path))


EXPORT = DataExport(
    DEFAULT_HUB,
    parse_export_id("out"),
    "Out",
    "telemetry",
    NOW,
    NOW,
    (DestinationUse(DestinationId("hook"), {"a": 1}),),
)
OF_PROPERTIES = (PropertyFilter("limit", "greater", 20), PropertyFilter("place", "equals", "hall", is_cloud=True))


@pytest.mark.parametrize(
    "export",
    [
        EXPORT,
        replace(EXPORT, template=PUMP),
        replace(EXPORT, template=PUMP, property_filters=OF_PROPERTIES),
        replace(EXPORT, template=PUMP, property_filters=OF_PROPERTIES, matches="any"),
        replace(EXPORT, filters=(MessageFilter("messageProperty", "level", "exists"),)),
        replace(
            EXPORT,
            template=PUMP,
            filters=tuple(MessageFilter("capability", "t", each, 1.5) for each in OPERATORS if each != "exists"),
            property_filters=OF_PROPERTIES,
        ),
    ],
)
def test_an_export_is_the_same_again(export: DataExport) -> None:
    assert changed_export(EXPORT, export_json(export, []), lambda _template, path: path == "place") == export


@pytest.mark.parametrize(
    "change",
    [
        {"filters": {}},
        {"filters": [1]},
        {"filters": [{"of": "capability", "name": "t", "operator": "over", "value": 1}]},
        {"filters": [{"of": "weather", "name": "t", "operator": "exists"}]},
        {"filters": [{"of": "capability", "name": "t", "operator": "less", "value": []}]},
        {"filters": [{"of": "capability", "name": "t", "operator": "less", "value": 1, "more": 1}]},
        {"matches": "some"},
    ],
)
def test_what_is_no_filter_of_an_export(change: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match=r"filters|matches"):
        changed_export(EXPORT, change, lambda _template, _path: False)


def test_a_job_that_gives_a_manifest_is_the_same_again() -> None:
    draft = JobDraft("Roll out", "pumps", (JobData("deploymentManifest", "plant"),))
    assert parse_job("j1", draft_json(draft), default=ROOT) == draft
    with pytest.raises(Invalid, match="edge manifest"):
        parse_job("j1", {"group": "pumps", "data": [{"type": "deploymentManifest"}]}, default=ROOT)
