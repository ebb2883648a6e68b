"""What a form says is what was stored, and saved unchanged it stays that; what nothing can hold is refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from moorage.analytics.boards import Threshold, Tile
from moorage.analytics.explorer import Measure, Question
from moorage.errors import Invalid
from moorage.ids import DEFAULT_HUB
from moorage.pki.certificates import Certificate
from moorage.web.automation_forms import typed_value, value_text
from moorage.web.export_form import export_fields, export_of
from moorage.web.groups import dates_note
from moorage.web.job_form import draft_of
from moorage.web.tile_form import threshold_fields, thresholds_of, tile_of
from tests import certs

NOW = datetime(2027, 3, 1, tzinfo=UTC)
EXPORT = {"id": "e1", "name": "E", "source": "telemetry", "use0": "d1"}
CALLED = {"name": "J", "group": "g", "kind": "command", "cpath": "reboot"}
HALF = '"\\ud800"'


@pytest.mark.parametrize("value", ["5", "true", '"5"', "plain", "null"])
def test_a_filter_of_a_messages_property_is_the_same_after_it_was_shown(value: str) -> None:
    row = {"fname0": "level", "fkind0": "messageProperty", "foperator0": "equals", "fvalue0": value}
    export = export_of(EXPORT | row, DEFAULT_HUB, NOW)
    assert [each.value for each in export.filters] == [value]
    assert export_of(export_fields(export), DEFAULT_HUB, NOW).filters == export.filters


@pytest.mark.parametrize("least", [1234567.0, 0.1 + 0.2, -0.0, 1e22, 5e-324, 30.0])
def test_a_colour_begins_where_it_did_after_its_tile_was_saved(least: float) -> None:
    tile = Tile("t", "kpi", thresholds=(Threshold(least, "warn"),))
    assert thresholds_of(threshold_fields(tile)) == tile.thresholds


def test_a_whole_number_is_shown_as_one() -> None:
    assert threshold_fields(Tile("t", "kpi", thresholds=(Threshold(30.0, "warn"),)))["least0"] == "30"


def test_the_steps_of_a_tile_stay_while_its_time_does() -> None:
    """They come by REST, and its form has no field for them."""
    question = Question(minutes=120, step=5, axes="stacked", measures=(Measure("", "a", "average"),))
    tile = Tile("t", "line_chart", question=question)
    shown = {"title": "New", "span": "120", "a.a": "average"}
    assert tile_of(tile, shown).question == question
    assert tile_of(tile, shown | {"span": "60"}).question.step == 0


def test_half_of_a_surrogate_pair_stays_what_was_typed() -> None:
    assert typed_value(HALF) == HALF
    assert typed_value(value_text(HALF)) == HALF


@pytest.mark.parametrize("request_text", ["NaN", "-Infinity", HALF, f'{{"a": {HALF}}}', "1e999", "[" * 100 + "]" * 100])
def test_a_command_is_not_called_with_what_json_cannot_hold(request_text: str) -> None:
    with pytest.raises(Invalid, match=r"request") as refused:
        draft_of(CALLED | {"cvalue": request_text}, "t", None)
    assert (refused.value.reason, refused.value.field) == ("job.data", "cvalue")


def test_a_long_request_is_refused_and_not_cut() -> None:
    with pytest.raises(Invalid, match="at most 16384 characters"):
        draft_of(CALLED | {"cvalue": f'"{"x" * 20_000}"'}, "t", None)


@pytest.mark.parametrize("template", ['{"a": NaN}', f'{{"a": {HALF}}}', '{"a": 1e999}'])
def test_a_body_is_not_made_of_what_json_cannot_hold(template: str) -> None:
    with pytest.raises(Invalid, match="the template holds") as refused:
        export_of(EXPORT | {"utemplate0": template}, DEFAULT_HUB, NOW)
    assert (refused.value.reason, refused.value.field) == ("export.template", "utemplate0")


def test_how_far_two_certificates_end_apart_is_the_same_both_ways_round() -> None:
    def ends(day: int, hour: int) -> Certificate:
        return certs.odd(f"Root {day} {hour}", not_after=datetime(2030, 5, day, hour, tzinfo=UTC))

    for one, other, said in (
        (ends(1, 6), ends(1, 18), "on the same day"),
        (ends(1, 18), ends(2, 6), "a day apart"),
        (ends(1, 18), ends(30, 6), "29 days apart"),
        (ends(1, 18), ends(31, 6), ""),
    ):
        notes = {dates_note([one, other]), dates_note([other, one])}
        assert len(notes) == 1
        assert said in notes.pop()
