from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import Invalid, Unauthenticated
from moorage.identities.sas import (
    CLOCK_SKEW,
    MAX_TOKEN_CHARS,
    SasToken,
    check_expiry,
    check_identity_audience,
    check_policy_audience,
    check_signature,
    key_bytes,
    make_token,
    parse_audience,
    parse_token,
    session_end,
)
from moorage.ids import DeviceId, IdentityName, ModuleId, Secret
from tests.unit.identities.world import named

NOW = datetime(2030, 1, 1, tzinfo=UTC)
KEY = Secret(base64.b64encode(bytes(range(32))).decode())
OTHER = Secret(base64.b64encode(bytes(32)).decode())
HOSTS = frozenset({"hub.example", "localhost", "::1"})


def token(resource: str = "hub.example/devices/d", expires: datetime = NOW, policy: str | None = None) -> SasToken:
    return parse_token(make_token(resource, KEY, expires, policy).reveal())


def reason(call: object, *arguments: object) -> str:
    with pytest.raises(Unauthenticated) as caught:
        call(*arguments)  # type: ignore[operator] # any of the checks
    return caught.value.reason


def test_a_token_as_the_python_sdk_writes_it_is_read_and_its_signature_checks() -> None:
    """Computed by hand, not by `make_token`: sr encoded, signature over the encoded text."""
    sr, se = "hub.example%2Fdevices%2Fpump-01", "1900000000"
    digest = hmac.new(key_bytes(KEY), f"{sr}\n{se}".encode(), hashlib.sha256).digest()
    text = f"SharedAccessSignature sr={sr}&sig={quote(base64.b64encode(digest), safe='')}&se={se}"
    read = parse_token(text)
    assert (read.resource, read.expiry, read.policy) == (sr, se, None)
    assert read.expires == datetime.fromtimestamp(1900000000, UTC)
    check_signature(read, [key_bytes(KEY)], "'pump-01'")
    check_identity_audience(read, HOSTS, named("pump-01"))


def test_fields_come_in_any_order_and_sr_may_be_unencoded_and_sig_may_hold_a_bare_slash() -> None:
    """A-1, A-2, A-6: the orders and spellings of the Node service SDK."""
    sr, se = "hub.example", "1900000000"
    digest = base64.b64encode(hmac.new(key_bytes(KEY), f"{sr}\n{se}".encode(), hashlib.sha256).digest()).decode()
    for signature in (quote(digest, safe=""), quote(digest, safe="/")):
        read = parse_token(f"SharedAccessSignature skn=service&se={se}&sig={signature}&sr={sr}")
        check_signature(read, [key_bytes(KEY)], "policy 'service'")
        assert read.policy == "service"
    lower_escapes = quote(digest, safe="").replace("%3D", "%3d").replace("%2F", "%2f").replace("%2B", "%2b")
    check_signature(parse_token(f"SharedAccessSignature sr={sr}&sig={lower_escapes}&se={se}"), [key_bytes(KEY)], "x")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Bearer abc",
        "SharedAccessSignature",
        "SharedAccessSignature sr=a&sig=b",
        "SharedAccessSignature sr=a&se=1",
        "SharedAccessSignature sig=a&se=1",
        "SharedAccessSignature sr=&sig=b&se=1",
        "SharedAccessSignature sr=a&sig=b&se=soon",
        "SharedAccessSignature sr=a&sig=b&se=-1",
        "SharedAccessSignature sr=a&sig=b&se=1.5",
        "SharedAccessSignature sr=a&sig=b&se=" + "9" * 40,
        "SharedAccessSignature sr=a&sr=b&sig=b&se=1",
        "SharedAccessSignature sr=a&sig=b&se=1&oops",
        "SharedAccessSignature sr=a&sig=b&se=١",  # a digit, but not one of ours
        "SharedAccessSignature sr=a&sig=b&se=1&x=" + "a" * MAX_TOKEN_CHARS,
    ],
)
def test_what_is_no_token_is_malformed(text: str) -> None:
    assert reason(parse_token, text) == "token.malformed"


@given(st.text(max_size=300))
def test_any_text_parses_or_is_malformed(text: str) -> None:
    for candidate in (text, f"SharedAccessSignature {text}", f"SharedAccessSignature sr={text}&sig={text}&se=1"):
        try:
            read = parse_token(candidate)
        except Unauthenticated as refusal:
            assert refusal.reason == "token.malformed"
        else:
            parse_audience(read.resource)
            assert reason(check_signature, read, [key_bytes(KEY)], "x") == "token.signature"


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=60),
    st.one_of(st.none(), st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)),
    st.integers(0, 253_402_214_400),
)
def test_what_is_made_is_read_back(device: str, policy: str | None, expiry: int) -> None:
    expires = datetime.fromtimestamp(expiry, UTC)
    read = parse_token(make_token(f"Hub.Example/devices/{device}", KEY, expires, policy).reveal())
    assert (read.policy, read.expires) == (policy, expires)
    check_signature(read, [key_bytes(OTHER), key_bytes(KEY)], "x")
    audience = parse_audience(read.resource)
    assert (audience.host, audience.path) == ("hub.example", ("devices", device))


@given(st.integers(0, 500), st.characters(codec="ascii", categories=("L", "N")))
def test_a_token_that_was_changed_in_what_it_says_does_not_check(position: int, put: str) -> None:
    text = make_token("hub.example/devices/d", KEY, NOW).reveal()
    position = len("SharedAccessSignature ") + position % (len(text) - len("SharedAccessSignature "))
    changed = text[:position] + put + text[position + 1 :]
    original = parse_token(text)
    try:
        read = parse_token(changed)
    except Unauthenticated:
        return
    if (read.resource, read.expiry, read.signature) != (original.resource, original.expiry, original.signature):
        assert reason(check_signature, read, [key_bytes(KEY)], "x") == "token.signature"


def test_either_key_signs_and_no_other() -> None:
    check_signature(token(), [key_bytes(KEY), key_bytes(OTHER)], "x")
    check_signature(token(), [key_bytes(OTHER), key_bytes(KEY)], "x")
    assert reason(check_signature, token(), [key_bytes(OTHER), key_bytes(OTHER)], "x") == "token.signature"
    assert reason(check_signature, token(), [], "x") == "token.signature"


def test_no_refusal_shows_a_key_or_a_signature() -> None:
    made = token()
    with pytest.raises(Unauthenticated) as caught:
        check_signature(made, [key_bytes(OTHER)], "'d'")
    assert made.signature not in caught.value.message and OTHER.reveal() not in caught.value.message
    with pytest.raises(Invalid) as invalid:
        key_bytes(Secret("not base64!"))
    assert invalid.value.reason == "key.base64" and "not base64!" not in invalid.value.message


def test_a_token_is_good_until_five_minutes_after_its_expiry() -> None:
    made = token(expires=NOW)
    check_expiry(made, NOW + CLOCK_SKEW)
    assert reason(check_expiry, made, NOW + CLOCK_SKEW + timedelta(seconds=1)) == "token.expired"


def test_a_session_ends_with_its_token_or_with_the_skew_that_let_it_in() -> None:
    made = token(expires=NOW)
    assert session_end(made, NOW - timedelta(hours=1)) == NOW
    assert session_end(made, NOW + timedelta(minutes=1)) == NOW + CLOCK_SKEW


def test_an_expiry_beyond_the_calendar_is_the_end_of_the_calendar() -> None:
    read = parse_token("SharedAccessSignature sr=a&sig=b&se=999999999999999")
    check_expiry(read, NOW)
    assert read.expires.year == 9999 and session_end(read, NOW).year == 9999


@pytest.mark.parametrize(
    "resource",
    [
        "hub.example/devices/Pump",
        "HUB.EXAMPLE/devices/Pump",
        "hub.example/devices/pump",  # IoT Edge lower-cases the whole resource
        "hub.example:8883/devices/Pump",
        "https://hub.example/devices/Pump",
        "amqps://hub.example:5671/devices/Pump/",
        "[::1]:8443/devices/Pump",
        "hub.example/devices/Pump/api-version=2016-11-14",
        "hub.example/devices/Pump/messages/events",
    ],
)
def test_an_own_token_names_its_identity_in_every_spelling_that_was_seen(resource: str) -> None:
    check_identity_audience(token(resource), HOSTS, named("Pump"))


@pytest.mark.parametrize(
    ("resource", "name"),
    [
        ("other.example/devices/d", "d"),
        ("hub.example.evil/devices/d", "d"),
        ("hub.example", "d"),
        ("hub.example/devices", "d"),
        ("hub.example/devices/dd", "d"),
        ("hub.example/devices/d/modules/m", "d"),
        ("hub.example/devices/d", "d/m"),
        ("hub.example/devices/d/modules/mm", "d/m"),
        ("hub.example/x/devices/d", "d"),
    ],
)
def test_an_own_token_for_anything_else_is_refused(resource: str, name: str) -> None:
    assert reason(check_identity_audience, token(resource), HOSTS, named(name)) == "token.audience"


def test_an_id_with_characters_that_have_to_be_encoded_is_named_by_its_encoding() -> None:
    name = IdentityName(DeviceId("a%41+b"), ModuleId("m%2F"))
    check_identity_audience(token("hub.example/devices/a%41+b/modules/m%2F"), HOSTS, name)


@pytest.mark.parametrize(
    ("resource", "path", "opens"),
    [
        ("hub.example", ("devices", "d"), True),
        ("localhost:8443", ("devices", "d"), True),
        ("hub.example/devices", ("devices", "d"), True),
        ("hub.example/devices/d", ("devices", "d"), True),
        ("hub.example/devices/d", ("devices", "d", "modules", "m"), True),
        ("hub.example/dev", ("devices", "d"), False),
        ("hub.example/devices/D", ("devices", "d"), False),
        ("hub.example/Devices", ("devices", "d"), False),
        ("hub.example/devices/d/modules", ("devices", "d"), False),
        ("hub.example/twins", ("devices", "d"), False),
        ("example", ("devices", "d"), False),
        # An id may be percent-encoded so that it reads like the beginning of an address.
        ("hub.example/devices/x%3A%2F%2Fhub.example", ("devices", "d"), False),
        ("hub.example/devices/x://hub.example", ("devices", "d"), False),
        # Words of Event Hubs have no case, and what they name has one.
        ("hub.example/ev", ("ev", "ConsumerGroups", "a", "Partitions", "0"), True),
        ("hub.example/ev/consumergroups/a/PARTITIONS/0", ("ev", "ConsumerGroups", "a", "Partitions", "0"), True),
        ("hub.example/ev/consumergroups/a", ("ev", "ConsumerGroups", "a", "Partitions", "0"), True),
        ("hub.example/EV/ConsumerGroups/a", ("ev", "ConsumerGroups", "a", "Partitions", "0"), False),
        ("hub.example/ev/ConsumerGroups/A", ("ev", "ConsumerGroups", "a", "Partitions", "0"), False),
        ("hub.example/ev/consumergroup", ("ev", "ConsumerGroups", "a", "Partitions", "0"), False),
        ("hub.example/ev/ConsumerGroups/a/Partitions/0/x", ("ev", "ConsumerGroups", "a", "Partitions", "0"), False),
        ("hub.example/devices/consumergroups", ("devices", "ConsumerGroups"), False),
        ("hub.example/twins/consumergroups", ("twins", "ConsumerGroups"), False),
    ],
)
def test_a_policy_token_opens_what_is_below_its_audience(resource: str, path: tuple[str, ...], opens: bool) -> None:
    if opens:
        check_policy_audience(token(resource), HOSTS, path)
    else:
        assert reason(check_policy_audience, token(resource), HOSTS, path) == "token.audience"


def test_a_wrong_host_is_told_with_the_names_the_hub_is_known_by() -> None:
    with pytest.raises(Unauthenticated) as caught:
        check_policy_audience(token("my-hub.azure-devices.net"), frozenset({"hub.example"}), ("devices",))
    assert "my-hub.azure-devices.net" in caught.value.message and "hub.example" in caught.value.message
