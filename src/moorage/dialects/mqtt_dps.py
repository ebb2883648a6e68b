"""The provisioning service's words on MQTT (contract/devices.md 6.2): user names, topics, and one device's questions.

    register  $dps/registrations/PUT/iotdps-register/?$rid={rid}
    poll      $dps/registrations/GET/iotdps-get-operationstatus/?$rid={rid}&operationId={id}
    answer    $dps/registrations/res/{status}/?$rid={rid}[&retry-after={seconds}]

A CONNECT is accepted whoever it is, and judged when it registers: only that answer has room for a reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from moorage.attempts.model import Door
from moorage.dialects.dps_exchange import Caller, DpsExchange, Reply
from moorage.dialects.json_text import encode_json
from moorage.errors import RemoteProtocolError
from moorage.identities.credentials import Presented

__all__ = ["ANSWER_FILTER", "DpsConversation", "DpsLogin", "parse_dps_login"]

# What a device may subscribe to.
ANSWER_FILTER: Final = "$dps/registrations/res/#"

_REGISTER: Final = b"$dps/registrations/PUT/iotdps-register/"
_POLL: Final = b"$dps/registrations/GET/iotdps-get-operationstatus/"
# A hub login without parameters may have as many segments; an id scope has a form that no host name has.
_ID_SCOPE: Final = re.compile(r"0ne[0-9A-Za-z]{8}", re.IGNORECASE)
# GUIDs and counters; longer ones are nobody's.
_MAX_RID: Final = 128
_RID: Final = re.compile(rb"[\x21-\x7e]{1,%d}" % _MAX_RID)


@dataclass(frozen=True, slots=True)
class DpsLogin:
    """What a provisioning user name says; unchecked, since it is judged when the device registers."""

    scope: str
    registration_id: str
    api_version: str
    client_version: str


def parse_dps_login(user_name: str) -> DpsLogin | None:
    """Read `{scope}/registrations/{id}/api-version=...&ClientVersion=...`, which has no `?`.

    None when it is not a provisioning user name, but a hub's: that has a `?` before its parameters.
    """
    parts = user_name.split("/", 3)
    if len(parts) < 3 or parts[1].lower() != "registrations":
        return None
    if len(parts) == 3 and not _ID_SCOPE.fullmatch(parts[0]):
        return None
    text = parts[3] if len(parts) == 4 else ""
    if text.startswith("?") or text.partition("/")[2].startswith("?"):
        return None
    parameters: dict[str, str] = {}
    for pair in text.split("&"):
        name, _, value = pair.partition("=")
        parameters.setdefault(name.lower(), unquote(value))
    return DpsLogin(parts[0], parts[2], parameters.get("api-version", ""), parameters.get("clientversion", ""))


class DpsConversation:
    """One provisioning device on one connection: a question in, its answer out. Keeps nothing between questions."""

    def __init__(
        self,
        login: DpsLogin,
        presented: Presented,
        exchange: DpsExchange,
        *,
        door: Door = "dps.mqtt",
        tls_version: str = "",
    ) -> None:
        self._caller = Caller(login.scope, login.registration_id, presented, door, tls_version, login.client_version)
        self._exchange = exchange

    async def handle(self, topic: bytes, body: bytes) -> tuple[bytes, bytes]:
        """Topic and body of the answer; an error is an answer too.

        Raises:
            RemoteProtocolError: `dps.topic`: a topic that is no question, or one that cannot be answered because it has
                no `$rid`.
        """
        parameters = _parameters(topic)
        rid = parameters.get(b"$rid", b"")
        if not _RID.fullmatch(rid):
            raise RemoteProtocolError(
                "dps.topic", f"a request needs $rid of up to {_MAX_RID} characters: {topic[:200]!r}"
            )
        if topic.startswith(_REGISTER):
            reply = await self._exchange.register(self._caller, body)
        else:
            # C sends the registration body along with a poll, Python a space; neither means anything.
            operation_id = unquote(parameters.get(b"operationId", b"").decode("utf-8", "replace"))
            reply = await self._exchange.poll(self._caller, operation_id)
        return _answer_topic(rid, reply), encode_json(reply.body)


def _parameters(topic: bytes) -> dict[bytes, bytes]:
    for prefix in (_REGISTER, _POLL):
        if topic.startswith(prefix):
            query = topic[len(prefix) :].removeprefix(b"?")
            pairs = (pair.partition(b"=") for pair in query.split(b"&"))
            return {name: value for name, _, value in pairs}
    raise RemoteProtocolError("dps.topic", f"a provisioning device registers and polls, nothing else: {topic[:200]!r}")


def _answer_topic(rid: bytes, reply: Reply) -> bytes:
    # Java cuts at a fixed offset: `$rid` comes first, `retry-after` second, in whole seconds.
    topic = b"$dps/registrations/res/%d/?$rid=%s" % (reply.status, rid)
    return topic if reply.retry_after_s is None else topic + b"&retry-after=%d" % reply.retry_after_s
