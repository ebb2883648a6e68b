"""JSON that was typed, and how long a command waits for what it asks."""

from __future__ import annotations

import pytest

from moorage.adapters.endpoints import webhook
from moorage.cli import endpoint
from moorage.cli.arguments import json_value
from moorage.cli.route import _json
from moorage.errors import Invalid


@pytest.mark.parametrize("text", ["NaN", "[-Infinity]", "1e999", '{"a": -1e400}', "1" * 5000, "[" * 100_000, "{"])
def test_what_cannot_be_sent_as_json_is_refused_where_it_was_typed(text: str) -> None:
    with pytest.raises(Invalid, match="--desired is n") as refused:
        json_value(text, "--desired")
    assert refused.value.reason == "json.malformed"
    with pytest.raises(Invalid, match="--body is n") as refused:
        _json(text)
    assert refused.value.reason == "route.body"


def test_numbers_are_what_they_spell() -> None:
    assert json_value("[1, -0.5, 1e300]", "--desired") == [1, -0.5, 1e300]


def test_who_tries_an_endpoint_waits_longer_than_the_hub_does() -> None:
    assert endpoint._TRY_PATIENCE_S > webhook._TOTAL_S + 10
