"""API tokens as text, and pictures as bytes: whatever comes is taken or refused, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moorage.accounts.customization import parse_png
from moorage.accounts.token_model import (
    Presented,
    TokenId,
    digest_of,
    encode_token,
    parse_presented,
    parse_token_id,
)
from moorage.errors import Refusal

ENDS = datetime(2027, 11, 23, 12, tzinfo=UTC)
APPLICATION = "0a1b2c3d-0000-4000-8000-000000000000"


@given(key=st.binary(min_size=32, max_size=32), name=st.from_regex(r"[A-Za-z0-9_-]{1,48}", fullmatch=True))
def test_what_is_made_can_be_read_whatever_its_signature_holds(key: bytes, name: str) -> None:
    text = encode_token(APPLICATION, TokenId(name), ENDS, key)
    presented = parse_presented(text.reveal())
    assert (presented.application_id, presented.token_id) == (APPLICATION, name)
    assert presented.expiry == str(int(ENDS.timestamp()))
    assert key.hex() not in digest_of(presented)
    assert text.reveal() not in (repr(text), str(text))


def test_another_key_another_application_and_another_end_are_another_token() -> None:
    one = Presented("app", "sig", "ci", "1")
    others = [one._replace(**{name: "x"}) for name in one._fields]
    assert len({digest_of(each) for each in (one, *others)}) == 5
    # A field cannot lend its end to the next one's beginning.
    assert digest_of(Presented("a", "b", "c", "1")) != digest_of(Presented("a", "bc", "", "1"))


@settings(max_examples=200)
@given(st.text() | st.builds("SharedAccessSignature {}".format, st.text(alphabet="srigknse=&%0aA", max_size=60)))
def test_any_header_is_a_token_or_is_refused_without_being_repeated(header: str) -> None:
    try:
        parse_presented(header)
    except Refusal as refusal:
        assert refusal.reason == "api_token.malformed"
        assert len(header) < 12 or header not in refusal.message


@pytest.mark.parametrize("text", ["", "a b", "a/b", "x" * 49, "é", "a\n"])
def test_a_name_has_letters_digits_hyphens_and_underscores(text: str) -> None:
    with pytest.raises(Refusal):
        parse_token_id(text)


@settings(max_examples=200)
@given(st.binary(max_size=200) | st.binary(max_size=200).map(b"\x89PNG\r\n\x1a\n".__add__))
def test_any_bytes_are_a_picture_or_are_refused(data: bytes) -> None:
    try:
        parse_png(data)
    except Refusal as refusal:
        assert refusal.reason == "customization.picture"
