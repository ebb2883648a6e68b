"""Files of many devices: a line that cannot be sent is a refusal, and sizes are those of the request."""

from __future__ import annotations

import json

import pytest

from moorage.cli.fleet_files import read_csv, read_json_lines


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_a_number_that_json_does_not_have_refuses_its_line_alone(number: str) -> None:
    text = f'{{"id":"a","tags":{{"x":{number}}}}}\n{{"id":"b","tags":{{"x":1.5e3}}}}\n'
    bad, good = read_json_lines(text.encode().splitlines(keepends=True))
    assert bad.refusal is not None and bad.refusal.reason == "json.malformed"
    assert good.item == {"id": "b", "tags": {"x": 1500.0}}
    table = f'id,tags\na,"{{""x"":{number}}}"\nb,"{{""x"":1}}"\n'
    bad, good = read_csv(table.encode().splitlines(keepends=True))
    assert bad.refusal is not None and bad.refusal.reason == "import.cell"
    assert good.item is not None


@pytest.mark.parametrize("text", ["plain" * 100, "\u00e9" * 500, "\u6c34" * 500, "\U0001f6a2" * 500])
def test_a_line_is_counted_with_as_many_bytes_as_it_has_in_a_request(text: str) -> None:
    item = {"id": "a", "tags": {"t": text}}
    (line,) = read_json_lines([json.dumps(item, ensure_ascii=False).encode()])
    (row,) = read_csv([b"id,tags.t\n", f"a,{text}\n".encode()])
    assert row.item is not None
    assert line.size >= len(json.dumps(text)) and row.size >= len(json.dumps(text))
