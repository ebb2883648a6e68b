"""A stored message as conditions of routes see it, and as endpoints get it.

    {"hub": "...", "deviceId": "...", "enqueuedTime": "...", "systemProperties": {}, "properties": {}, "body": ...}

is the JSON of `moorage telemetry tail --json` (`telemetry_json.py`), with the hub's name, and with enrichments among
the properties. It is what web hooks, NATS subjects and lines of JSON files hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from moorage.dialects.bag import Bag, decode_bag
from moorage.dialects.json_text import encode_json, parse_json
from moorage.dialects.telemetry_json import json_text_of, telemetry_json
from moorage.dialects.times import format_time
from moorage.errors import Invalid
from moorage.hub.model import Twin
from moorage.hub.router import Outgoing, Selected
from moorage.hub.routing_match import Outlet, enriched
from moorage.hub.routing_model import RouteSource, RoutingTables
from moorage.hub.telemetry_log import StoredMessage
from moorage.ids import DeviceId, HubId, IdentityName, ModuleId
from moorage.query.syntax import UNDEFINED

__all__ = ["RoutedMessage", "Selection", "TestMessage", "routing_twin"]

# Routing name in lower case: name in the message. Any other is tried as it is written.
_SYSTEM: Final = {
    "messageid": "message-id",
    "correlationid": "correlation-id",
    "userid": "user-id",
    "to": "to",
    "contenttype": "content-type",
    "contentencoding": "content-encoding",
    "expirytimeutc": "absolute-expiry-time",
    "absoluteexpirytime": "absolute-expiry-time",
    "creationtimeutc": "iothub-creation-time-utc",
    "messageschema": "iothub-message-schema",
    "interfaceid": "iothub-interface-id",
    "outputname": "iothub-outputname",
    "operation": "iothub-operation",
    "ack": "iothub-ack",
}
# IoT Hub reads bodies of this type only, in these encodings, both said.
_ENCODINGS: Final = frozenset({"utf-8", "utf-16", "utf-32"})


class RoutedMessage:
    """Port: `query.routes.Message`. `find_twin` is asked at most once."""

    __slots__ = ("_bag", "_body", "_find_twin", "_folded", "_message", "_twin")

    def __init__(self, message: StoredMessage, find_twin: Callable[[IdentityName], Any]) -> None:
        self._message = message
        self._find_twin = find_twin
        self._bag: Bag | None = None
        self._folded: dict[str, Any] | None = None
        self._body: Any = None
        self._twin: Any = None

    @property
    def bag(self) -> Bag:
        if self._bag is None:
            self._bag = decode_bag(self._message.bag)
        return self._bag

    def system(self, name: str) -> Any:
        source = self._message.source
        match name:
            case "connectiondeviceid" | "iothub-connection-device-id":
                return source.device_id or UNDEFINED
            case "connectionmoduleid" | "iothub-connection-module-id":
                return UNDEFINED if source.module_id is None else source.module_id
            case "connectionauthmethod" | "iothub-connection-auth-method":
                return source.auth_method or UNDEFINED
            case "connectiondevicegenerationid" | "connectionauthgenerationid" | "iothub-connection-auth-generation-id":
                return source.generation_id or UNDEFINED
            case "enqueuedtime" | "iothub-enqueuedtime":
                return format_time(self._message.enqueued_time)
            case "messagesource" | "iothub-message-source":
                return source.message_source
            case "dt-dataschema":
                return UNDEFINED if source.model_id is None else source.model_id
        system = self.bag.system
        return _found(system, _SYSTEM.get(name, name))

    def application(self, name: str) -> Any:
        properties = self.bag.properties
        if name in properties:
            return properties[name]
        if self._folded is None:
            self._folded = {key.lower(): value for key, value in properties.items()}
        return self._folded.get(name.lower(), UNDEFINED)

    def body(self) -> Any:
        if self._body is None:
            self._body = (self._read_body(),)
        return self._body[0]

    def twin(self) -> Any:
        if self._twin is None:
            source = self._message.source
            if source.device_id:
                module = None if source.module_id is None else ModuleId(source.module_id)
                self._twin = (self._find_twin(IdentityName(DeviceId(source.device_id), module)),)
            else:
                self._twin = (UNDEFINED,)
        return self._twin[0]

    def _read_body(self) -> Any:
        system = self.bag.system
        encoding = (system.get("content-encoding") or "").strip().lower()
        if encoding not in _ENCODINGS:
            return UNDEFINED
        text = json_text_of(self._message.body, system.get("content-type"), encoding)
        if text is None:
            return UNDEFINED
        try:
            return parse_json(text, what="the body")
        except Invalid:
            # Says that it is JSON, and is none: nothing can be asked of it.
            return UNDEFINED


class Selection:
    """Port: `hub.router.Select`."""

    def __init__(self, hub: HubId, hub_name: str) -> None:
        self._hub = hub
        self._hub_name = hub_name

    def __call__(self, outlet: Outlet, messages: Sequence[StoredMessage], tables: RoutingTables) -> Selected:
        twins: dict[IdentityName, Any] = {}

        def find_twin(name: IdentityName) -> Any:
            if name not in twins:
                twins[name] = routing_twin(tables.twins.find(self._hub, name))
            return twins[name]

        found: list[Outgoing] = []
        by_route: Counter[str] = Counter()
        for message in messages:
            routed = RoutedMessage(message, find_twin)
            routes = outlet.taken_by(cast(RouteSource, message.source.message_source), routed)
            if routes:
                found.append(self._outgoing(message, routed, outlet))
                by_route.update(routes)
        return Selected(found, by_route)

    def _outgoing(self, message: StoredMessage, routed: RoutedMessage, outlet: Outlet) -> Outgoing:
        properties = dict(routed.bag.properties)
        if outlet.enrichments:
            properties |= enriched(outlet.enrichments, routed, self._hub_name)
        document = {"hub": self._hub_name, **telemetry_json(message), "properties": properties}
        return Outgoing(message.source.device_id, message.offset, encode_json(document), message.body)


class TestMessage:
    """A message that nobody sent, to try routes with. Port: `query.routes.Message`."""

    __test__ = False

    def __init__(
        self,
        *,
        body: Any = UNDEFINED,
        properties: Mapping[str, str] | None = None,
        system: Mapping[str, str] | None = None,
        twin: Any = UNDEFINED,
    ) -> None:
        self._body = body
        self._properties = {name.lower(): value for name, value in (properties or {}).items()}
        self._system = {name.lower(): value for name, value in (system or {}).items()}
        self._twin = twin

    def system(self, name: str) -> Any:
        if name in self._system:
            return self._system[name]
        return _found(self._system, _SYSTEM.get(name, name))

    def application(self, name: str) -> Any:
        return self._properties.get(name.lower(), UNDEFINED)

    def body(self) -> Any:
        return self._body

    def twin(self) -> Any:
        return self._twin


def routing_twin(twin: Twin | None) -> Any:
    """What conditions can ask of a twin."""
    if twin is None:
        return UNDEFINED
    sections = {"desired": twin.desired, "reported": twin.reported}
    properties = {name: {**each.value, "$version": each.version} for name, each in sections.items()}
    return {"tags": twin.tags, "properties": properties}


def _found(system: Mapping[str, Any], name: str) -> Any:
    value = system.get(name, UNDEFINED)
    return UNDEFINED if value is None else value
