"""Names, tokens and languages: short texts that strangers write, in topics, user names, headers and queries."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from moorage.dialects.arm_members import if_match_of
from moorage.dialects.bag import decode_bag
from moorage.dialects.blob_http import parse_block_id, parse_block_list, parse_md5
from moorage.dialects.device_http import bag_of
from moorage.dialects.dps_query import check_selects_all
from moorage.dialects.jobs_json import parse_device_status, parse_listing
from moorage.dialects.json_text import encode_json
from moorage.dialects.mqtt_dps import parse_dps_login
from moorage.dialects.mqtt_hub import bag_is_readable, bag_size, parse_filter, parse_request, parse_user_name
from moorage.dialects.routed_message import TestMessage
from moorage.dialects.times import format_time, parse_time
from moorage.errors import Refusal, RemoteProtocolError
from moorage.hub.job_model import parse_job_id
from moorage.hub.query_tokens import parse_token as parse_continuation
from moorage.hub.upload_model import check_file_name
from moorage.identities.owner import OwnerKey
from moorage.identities.sas import (
    check_expiry,
    check_identity_audience,
    check_policy_audience,
    check_signature,
    make_token,
    parse_audience,
    parse_token,
    session_end,
)
from moorage.ids import (
    DeviceId,
    HubId,
    IdentityName,
    Secret,
    parse_device_id,
    parse_enrollment_group_id,
    parse_etag,
    parse_module_id,
    parse_registration_id,
    parse_thumbprint,
)
from moorage.protocols.mqtt.topics import parse_topic_filter, parse_topic_name
from moorage.provisioning.linked_hubs import parse_connection_string
from moorage.query.aggregates import Grouping, projector
from moorage.query.evaluator import is_true
from moorage.query.parser import parse_condition, parse_query
from moorage.query.problems import InvalidQuery
from moorage.query.routes import parse_route_condition, parse_twin_path
from tests.fuzz.targets.model import Target

__all__ = ["TARGETS"]

_NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
_NAME: Final = IdentityName(DeviceId("pump-01"), None)
_KEY: Final = Secret("cHVtcHVtcHVtcHVtcHVtcHVtcHVtcHVtcHVtcHVtcHU=")


def _refused(call: Callable[[], object], declared: type[Exception] = Refusal) -> bool:
    """Whether it is refused as declared; anything else that is raised is a fault."""
    try:
        call()
    except declared:
        return True
    return False


# -- MQTT topics, user names and bags ----------------------------------------------------------------------------------


def _check_topics(data: bytes) -> None:
    _refused(lambda: parse_topic_filter(data), RemoteProtocolError)
    if not _refused(lambda: parse_topic_name(data), RemoteProtocolError):
        _refused(lambda: parse_request(data), RemoteProtocolError)
    text = data.decode("utf-8", "replace")
    _refused(lambda: parse_filter(text, _NAME), RemoteProtocolError)
    _refused(lambda: parse_user_name(text), Refusal)
    _refused(lambda: parse_dps_login(text), Refusal)


def _topic_seeds() -> Iterable[bytes]:
    yield b"hub.example/pump-01/camera/?api-version=2021-04-12&DeviceClientType=py%2F1&model-id=dtmi%3Aa%3B1"
    yield b"0ne00000000/registrations/pump-01/api-version=2019-03-31&ClientVersion=a%2Fb"
    yield b"$iothub/twin/PATCH/properties/reported/?$rid=12&$version=3"
    yield b"$iothub/methods/res/200/?$rid=a-1"
    yield b"$iothub/twin/GET/?$rid=1"
    yield b"devices/pump-01/messages/devicebound/#"


def _check_bags(data: bytes) -> None:
    bag = decode_bag(data)
    for name, value in (bag.system | bag.properties).items():
        f"{name}{value}".encode()
    assert bag_size(data) <= len(data)
    if bag_is_readable(data):
        # What HTTPS says of it is the same bag again.
        headers = [
            ("iothub-app-" + name, value) for name, value in bag.properties.items() if name and value is not None
        ]
        again = decode_bag(bag_of(headers))
        known = {name for name, _ in headers if name.lower() != "iothub-app-iothub-creation-time-utc"}
        for name in known:
            plain = name.removeprefix("iothub-app-")
            if plain in again.properties:
                assert again.properties[plain] == bag.properties[plain]


def _bag_seeds() -> Iterable[bytes]:
    yield b"%24.mid=m1&$.ct=application%2Fjson&a=b%20c&flag&%C3%BC=1/"
    yield b"iothub-connection-device-id=x&iothub-ack=full&=&%=%4"


# -- tokens ------------------------------------------------------------------------------------------------------------


def _check_tokens(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    audience = parse_audience(text)
    str(audience)
    if _refused(lambda: parse_token(text)):
        return
    token = parse_token(text)
    assert token.expires.tzinfo is UTC
    session_end(token, _NOW)
    is_late = _refused(lambda: check_expiry(token, _NOW))
    assert is_late == (_NOW - token.expires > timedelta(minutes=5))
    is_signed = not _refused(lambda: check_signature(token, [b"pump"], "nobody"))
    assert not is_signed, "signed with a key that nobody has"
    _refused(lambda: check_identity_audience(token, ["hub.example"], _NAME))
    _refused(lambda: check_policy_audience(token, ["hub.example"], ("devices", "pump-01")))


def _token_seeds() -> Iterable[bytes]:
    until = _NOW + timedelta(hours=1)
    for resource, policy in (
        ("hub.example/devices/pump-01", None),
        ("hub.example/devices/pump%2501/modules/m", None),
        ("hub.example", "iothubowner"),
        ("amqps://[::1]:5671/0ne00000000/registrations/pump-01", "registration"),
    ):
        yield make_token(resource, _KEY, until, policy).reveal().encode()


def _check_credentials(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    if not _refused(lambda: parse_connection_string(Secret(text))):
        endpoint = parse_connection_string(Secret(text))
        assert 0 < endpoint.port < 65536 and endpoint.host
    _refused(lambda: OwnerKey.parse(text))
    owner = OwnerKey(bytes(32))
    # A key of zeros is not what a fuzzer can sign with; the key itself is in the dictionary of no target.
    assert text.strip() == owner.text().reveal() or _refused(lambda: owner.check(text, "api", _NOW))
    _refused(lambda: parse_continuation(text, HubId("hub"), "SELECT * FROM devices"))


def _credential_seeds() -> Iterable[bytes]:
    yield f"HostName=hub.example:8443;SharedAccessKeyName=iothubowner;SharedAccessKey={_KEY.reveal()}".encode()
    yield f"HostName=[::1];SharedAccessKeyName=a;SharedAccessKey={_KEY.reveal()};DeviceId=x".encode()
    yield OwnerKey(bytes(31) + b"\1").text().reveal().encode()
    yield OwnerKey(bytes(32)).mint("api", timedelta(hours=1), _NOW).reveal().encode()[:-3] + b"000"


# -- names and small headers -------------------------------------------------------------------------------------------


def _check_names(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for parse in (
        parse_device_id,
        parse_module_id,
        parse_registration_id,
        parse_enrollment_group_id,
        parse_thumbprint,
        parse_job_id,
    ):
        # A name is what it was when it is parsed again.
        if not _refused(partial(parse, text)):
            name = parse(text)
            assert parse(name) == name
    _refused(lambda: parse_listing(text, text))
    for check in (parse_device_status, parse_etag, parse_block_id, parse_md5, check_file_name, check_selects_all):
        _refused(partial(check, text))
    _refused(lambda: if_match_of(text, {"etag": text}))
    if not _refused(lambda: parse_time(text, what="it")):
        moment = parse_time(text, what="it")
        assert parse_time(format_time(moment), what="it") == moment


def _name_seeds() -> Iterable[bytes]:
    yield b"pump-01"
    yield b'"AAAAAAAAAAE="'
    yield b"2026-11-23T12:00:00.1234567Z"
    yield b"2026-11-23T12:00:00+05:30"
    yield b"0123456789abcdef0123456789ABCDEF01234567"
    yield b"folder/file name.bin"
    yield b"YmxvY2s="
    yield b"1B2M2Y8AsgTpgAmY7PhCfg=="
    yield b"SELECT * FROM enrollments"


def _check_block_lists(data: bytes) -> None:
    if not _refused(lambda: parse_block_list(data)):
        assert all(1 <= len(block) <= 64 for block in parse_block_list(data))


def _block_list_seeds() -> Iterable[bytes]:
    yield b'<?xml version="1.0"?><BlockList><Latest>YQ==</Latest><Committed>Yg==</Committed>\n</BlockList>'
    yield b"<BlockList><Uncommitted>YWI=</Uncommitted></BlockList>"


# -- languages ---------------------------------------------------------------------------------------------------------

_ROW: Final[dict[str, Any]] = {
    "deviceId": "pump-01",
    "tags": {"site": "A", "floor": 3, "list": ["a", 1, True, None], "deep": {"a": {"b": 1.5}}},
    "properties": {"reported": {"$version": 7, "text": "Grüße", "big": 10**18}},
}
_MESSAGE: Final = TestMessage(
    body={"t": 50, "list": [{"m": "Feb"}, 7], "s": "text"},
    properties={"severity": "3", "Level": "hot"},
    system={"contentType": "application/json", "connectionDeviceId": "pump-01"},
    twin={"tags": {"site": "north"}, "properties": {"desired": {"interval": "5m"}, "reported": {}}},
)


def _pointed(call: Callable[[], object], text: str) -> bool:
    """As `_refused`; what is wrong with a text is at a place in it."""
    try:
        call()
    except InvalidQuery as refusal:
        assert 0 <= refusal.at <= len(refusal.text) and refusal.excerpt()
        return True
    return False


def _check_queries(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    if not _pointed(lambda: parse_query(text), text):
        select = parse_query(text)
        is_true(select.where, _ROW)
        if select.is_aggregate:
            grouping = Grouping(select)
            for row in (_ROW, {}, _ROW):
                grouping.add(row)
            encode_json(list(grouping.rows()))
        elif select.projections is not None:
            encode_json([projector(select.projections)(row) for row in (_ROW, {})])
    if not _pointed(lambda: parse_condition(text, "devices"), text):
        is_true(parse_condition(text, "devices").where, _ROW)


def _query_seeds() -> Iterable[bytes]:
    for text in (
        "SELECT * FROM devices",
        "SELECT TOP 3 deviceId, tags.site AS s FROM devices WHERE tags.floor >= 2 AND NOT is_defined(tags.x)",
        "SELECT tags.site, COUNT() AS n, AVG(tags.floor) FROM devices GROUP BY tags.site",
        "SELECT * FROM devices.modules WHERE moduleId IN ['a', 'b'] OR properties.reported.$version != 7",
        "starts_with(tags.site, 'A') AND (tags.floor + 1 = 4 OR tags.deep.a.b < -1.5e3)",
        "FROM devices.modules WHERE [[tags.x]] = null",
        "*",
    ):
        yield text.encode()


def _check_routes(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    parse_twin_path(text)
    if not _pointed(lambda: parse_route_condition(text), text):
        condition = parse_route_condition(text)
        taken = condition.matches(_MESSAGE)
        why = condition.explain(_MESSAGE)
        assert taken == (why is None)
        assert why is None or 0 <= why.at <= max(1, len(text))


def _route_seeds() -> Iterable[bytes]:
    for text in (
        "$body.list[0].m = 'Feb' AND as_number(severity) > 2",
        "$connectionDeviceId in ['pump-01'] OR NOT is_defined($twin.tags.x)",
        "[[sensor-type]] = 'pump'",
        "length($body.s) = 4 AND upper(level) = 'HOT'",
        "$twin.properties.desired.interval",
        "true",
    ):
        yield text.encode()


_LANGUAGE: Final = tuple(
    b"SELECT |FROM |WHERE |GROUP BY |AND |OR |NOT |IN [|]|(|)|'|\"|[[|]]|is_defined(|substring(|as_number(|$body|$twin|"
    b"1e308|-|*|.|,|null|true|--|COUNT()".split(b"|")
)

TARGETS: Final = (
    Target("topics", _check_topics, _topic_seeds, (b"$rid=", b"/?", b"&", b"registrations", b"%2F", b"#", b"+"), 1024),
    Target("bags", _check_bags, _bag_seeds, (b"%", b"&", b"=", b"$.mid", b"iothub-connection-", b"\xc3\xbc"), 1024),
    Target(
        "sas_tokens", _check_tokens, _token_seeds, (b"SharedAccessSignature ", b"&se=", b"sr=", b"skn=", b"://"), 1024
    ),
    Target("credentials", _check_credentials, _credential_seeds, (b"HostName=", b";", b"SharedAccessKey=", b"."), 512),
    Target("names", _check_names, _name_seeds, (b"%", b"/", b"..", b'"', b"*", b"T00:00:00Z", b"W/"), 300),
    Target(
        "block_lists", _check_block_lists, _block_list_seeds, (b"<!DOCTYPE", b"<![CDATA[", b"&#x", b"<Latest>"), 2048
    ),
    Target("queries", _check_queries, _query_seeds, _LANGUAGE, 2048),
    Target("routes", _check_routes, _route_seeds, _LANGUAGE, 2048),
)
