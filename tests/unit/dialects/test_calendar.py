from __future__ import annotations

from datetime import UTC, date, datetime

from moorage.dialects.calendar import CalendarDay, calendar_text

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_a_day_is_an_event_of_a_whole_day_with_an_alarm_a_week_before() -> None:
    text = calendar_text("moorage", [CalendarDay("a@hub", date(2030, 2, 28), "Plant Root ends")], NOW)
    lines = text.split("\r\n")
    assert (lines[0], lines[-2], lines[-1]) == ("BEGIN:VCALENDAR", "END:VCALENDAR", "")
    for line in (
        "DTSTAMP:20300102T030405Z",
        "DTSTART;VALUE=DATE:20300228",
        "DTEND;VALUE=DATE:20300301",
        "SUMMARY:Plant Root ends",
        "TRIGGER:-P7D",
    ):
        assert line in lines


def test_no_name_ends_a_line_or_says_more_than_a_text() -> None:
    evil = "a\r\nEND:VEVENT\nBEGIN:VEVENT,x;y\\z"
    text = calendar_text(evil, [CalendarDay(evil, date(2030, 1, 1), evil, evil)], NOW)
    unfolded = text.replace("\r\n ", "")
    assert unfolded.count("END:VEVENT\r\n") == 1 and "\n" not in unfolded.replace("\r\n", "")
    assert "BEGIN:VEVENT\\,x\\;y\\\\z" in unfolded


def test_long_lines_are_folded_between_characters() -> None:
    summary = "\u00fc\U0001f512" * 60
    text = calendar_text("x", [CalendarDay("a", date(2030, 1, 1), summary)], NOW)
    assert all(len(line.encode()) <= 75 for line in text.split("\r\n"))
    assert f"SUMMARY:{summary}" in text.replace("\r\n ", "")
