"""JSON from outside: bounded before it is parsed, and always writable again."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.dialects.json_text import encode_json, parse_json, parse_object
from moorage.errors import Invalid

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES, st.booleans())
def test_what_is_written_is_read_back(value: Any, ascii_only: bool) -> None:
    assert parse_json(encode_json(value), what="it") == value
    assert parse_json(json.dumps(value, ensure_ascii=ascii_only, indent=1).encode(), what="it") == value


@given(st.binary(max_size=100) | st.text(alphabet='[]{}",:\\u0d8e1-.truefalsn ', max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused_and_what_is_read_can_be_written(data: bytes) -> None:
    try:
        value = parse_json(data, what="it")
    except Invalid as refusal:
        assert refusal.reason.startswith("json.")
        assert refusal.reason == "json.number" or not is_writable_json(data)
        return
    assert parse_json(encode_json(value), what="it") == value


@given(st.text(alphabet='[]{}"\\ab', max_size=80), st.integers(1, 6))
def test_nesting_is_counted_as_a_parser_would(text: str, limit: int) -> None:
    """Whatever parses is refused exactly when it is nested deeper than allowed."""
    try:
        value = json.loads(text)
    except ValueError:
        return
    if depth_of(value) > limit:
        with pytest.raises(Invalid, match=f"deeper than {limit} levels"):
            parse_json(text.encode(), what="it", max_depth=limit)
    else:
        assert parse_json(text.encode(), what="it", max_depth=limit) == value


@given(VALUES, st.integers(1, 4))
def test_nesting_of_any_value_is_counted(value: Any, limit: int) -> None:
    data = encode_json(value)
    if depth_of(value) > limit:
        with pytest.raises(Invalid, match="it is nested deeper"):
            parse_json(data, what="it", max_depth=limit)
    else:
        assert parse_json(data, what="it", max_depth=limit) == value


def is_writable_json(data: bytes) -> bool:
    """Whether the standard library reads `data` and can write what it read as UTF-8."""
    try:
        return bool(json.dumps(json.loads(data.decode("utf-8-sig")), ensure_ascii=False).encode())
    except ValueError:
        return False


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


def test_brackets_in_strings_are_text() -> None:
    text = "[{" * 1000
    assert parse_json(encode_json({"a": text, 'q"\\': text}), what="it") == {"a": text, 'q"\\': text}


@pytest.mark.parametrize(
    ("data", "kind"),
    [(b"[1]", "array"), (b"null", "null"), (b"true", "boolean"), (b"1.5", "number"), (b'"a"', "string")],
)
def test_what_is_no_object_is_named(data: bytes, kind: str) -> None:
    with pytest.raises(Invalid, match=f"it is a JSON {kind}, it has to be an object"):
        parse_object(data, what="it")


def test_a_byte_order_mark_is_skipped_and_any_mapping_is_written() -> None:
    assert parse_json(b"\xef\xbb\xbf{}", what="it") == {}
    assert encode_json({"a": MappingProxyType({"b": "ä"})}) == '{"a":{"b":"ä"}}'.encode()
