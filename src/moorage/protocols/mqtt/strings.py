"""UTF-8 encoded strings: MQTT 3.1.1, section 1.5.3."""

from __future__ import annotations

from moorage.errors import RemoteProtocolError

__all__ = ["parse_string"]


def parse_string(data: bytes, what: str) -> str:
    """The text of `data`; `what` names it in the error. U+FEFF is a character like any other [MQTT-1.5.3-3].

    Raises `RemoteProtocolError` (`mqtt.utf8`).
    """
    try:
        text = data.decode("utf-8")  # strict: no surrogates, nothing overlong [MQTT-1.5.3-1]
    except UnicodeDecodeError as error:
        raise RemoteProtocolError(
            "mqtt.utf8", f"the {what} is not UTF-8 at its byte {error.start}: {error.reason}", clause="MQTT-1.5.3-1"
        ) from error
    if "\0" in text:
        raise RemoteProtocolError("mqtt.utf8", f"the {what} holds the character U+0000", clause="MQTT-1.5.3-2")
    return text
