"""Property bags in every SDK's spelling (contract/devices.md 2.5)."""

from __future__ import annotations

from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.dialects.bag import SYSTEM_KEYS, Bag, decode_bag
from moorage.dialects.mqtt_hub import bag_is_readable

STAMPED = ("iothub-connection-", "iothub-enqueuedtime", "iothub-message-source", "dt-dataschema", "$.cdid", "$.cmid")
NAMES = st.text(min_size=1, max_size=12).filter(lambda name: name not in SYSTEM_KEYS and not name.startswith(STAMPED))
PROPERTIES = st.dictionaries(NAMES, st.none() | st.text(max_size=20), max_size=6)


def encode(pairs: dict[str, str | None], *, safe: str = "") -> bytes:
    return "&".join(
        quote(name, safe=safe) + ("" if value is None else "=" + quote(value, safe=safe))
        for name, value in pairs.items()
    ).encode()


@given(PROPERTIES, st.booleans())
def test_a_bag_round_trips(properties: dict[str, str | None], with_slash: bool) -> None:
    raw = encode(properties) + (b"/" if with_slash else b"")
    assert bag_is_readable(raw)
    assert decode_bag(raw) == Bag({}, properties)


@given(
    st.dictionaries(st.sampled_from(sorted(SYSTEM_KEYS)), st.text(max_size=20), max_size=8), st.sampled_from(["", "$"])
)
def test_system_properties_get_their_names_whichever_way_the_dollar_is_written(
    pairs: dict[str, str], safe: str
) -> None:
    decoded = decode_bag(encode(dict(pairs), safe=safe))
    assert decoded == Bag({SYSTEM_KEYS[key]: value for key, value in pairs.items()}, {})


@given(st.binary(max_size=300))
def test_any_bytes_decode_and_bytes_that_pass_hold_no_replacement(raw: bytes) -> None:
    bag = decode_bag(raw)
    for key in (*bag.system, *bag.properties):
        assert not key.startswith("iothub-connection-")
    text = raw.decode(errors="surrogateescape")
    if text.isprintable() and bag_is_readable(raw):
        # What was let in is read without loss: a replacement character can only be the device's own.
        shown = "".join((*bag.properties, *bag.system, *filter(None, bag.properties.values())))
        assert "\ufffd" not in shown or "\ufffd" in unquote_to_bytes(raw).decode()


@pytest.mark.parametrize(
    ("raw", "properties"),
    [
        (b"", {}),
        (b"/", {}),
        (b"a=1/", {"a": "1"}),
        (b"a=1//", {"a": "1/"}),
        (b"path=/a/b", {"path": "/a/b"}),
        (b"a=b=c", {"a": "b=c"}),
        (b"null&empty=&&", {"null": None, "empty": ""}),
        (b"plus=a+b%20c", {"plus": "a+b c"}),
        (b"broken=100%&odd=%zz%4&half=%4", {"broken": "100%", "odd": "%zz%4", "half": "%4"}),
        (b"twice=1&twice=2", {"twice": "2"}),
        (b"=nameless", {"": "nameless"}),
        (b"u=%C3%A4\xc3\xa4", {"u": "ää"}),
        (b"$.unknown=x", {"$.unknown": "x"}),
    ],
)
def test_odd_bags_are_read_as_devices_mean_them(raw: bytes, properties: dict[str, str | None]) -> None:
    assert bag_is_readable(raw)
    assert decode_bag(raw).properties == properties


@pytest.mark.parametrize(
    "raw",
    [
        b"iothub-connection-device-id=other",
        b"iothub-connection-module-id=m",
        b"%69othub-connection-device-id=other",
        b"iothub%2Dconnection-auth-method=x",
        b"%24.cdid=other&$.cmid=m",
        b"iothub-enqueuedtime=1&iothub-message-source=twinChangeEvents&dt-dataschema=x",
    ],
)
def test_a_device_cannot_speak_as_another(raw: bytes) -> None:
    assert decode_bag(raw + b"&own=1") == Bag({}, {"own": "1"})
