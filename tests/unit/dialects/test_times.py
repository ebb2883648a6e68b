"""Times as clients write and read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.dialects.times import format_http_date, format_span, format_time, parse_time
from moorage.errors import Invalid


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])))
def test_a_time_round_trips(moment: datetime) -> None:
    if datetime(1, 1, 2, tzinfo=UTC) < moment < datetime(9999, 12, 30, tzinfo=UTC):
        assert parse_time(format_time(moment), what="it") == moment


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    try:
        assert parse_time(text, what="it").tzinfo is UTC
    except Invalid as refusal:
        assert refusal.reason == "time.malformed"


@pytest.mark.parametrize(
    "text",
    [
        "2030-01-31T12:00:00Z",
        "2030-01-31T12:00:00",
        "2030-01-31 12:00:00.0000000Z",
        "2030-01-31t13:00:00+01:00",
        "2030-01-31T12:00:00.000000000",
    ],
)
def test_every_spelling_that_clients_use_is_read(text: str) -> None:
    assert parse_time(text, what="it") == datetime(2030, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["2030-02-30T00:00:00Z", "2030-01-31", "now", "", None, 5, "0001-01-01T00:00:00+23:00"]
)
def test_what_is_no_time_is_refused_by_name(text: object) -> None:
    with pytest.raises(Invalid, match="expiry is"):
        parse_time(text, what="expiry")


def test_other_forms() -> None:
    assert format_time(None) == "0001-01-01T00:00:00Z"
    assert format_http_date(datetime(2026, 11, 22, 12, tzinfo=UTC)) == "Sun, 22 Nov 2026 12:00:00 GMT"
    assert [format_span(seconds) for seconds in (0, 300, 3661)] == ["00:00:00", "00:05:00", "01:01:01"]
