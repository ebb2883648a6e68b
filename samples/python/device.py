"""A client for the device that the environment describes; the variables are in the README beside this folder."""

import contextlib
import logging
import os
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGINT, SIGTERM, signal
from typing import Any

from azure.iot.device import X509, IoTHubDeviceClient, ProvisioningDeviceClient
from azure.iot.device.exceptions import ClientError

# The SDK logs the traceback of every refusal; what it comes to is said in one line.
logging.disable()
_PROTOCOLS = ("mqtt", "mqtt-ws")


def _setting(name: str) -> str:
    if not (value := os.environ.get(name, "")):
        sys.exit(f"{name} is not set")
    return value


def _certificate() -> Any:
    """Found wrong here, since a connection that fails says less."""
    cert_file, key_file = _setting("X509_CERT_FILE"), _setting("X509_KEY_FILE")
    pass_phrase = os.environ.get("PASS_PHRASE", "")
    try:
        is_locked = "ENCRYPTED" in Path(key_file).read_text()
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert_file, key_file, pass_phrase)
    except ssl.SSLError as error:
        why = "PASS_PHRASE does not open it" if is_locked and error.reason != "KEY_VALUES_MISMATCH" else str(error)
        sys.exit(f"{key_file} cannot be used: {why}")
    except OSError as error:
        sys.exit(f"{error.filename or cert_file} cannot be read: {error.strerror}")
    return X509(cert_file=cert_file, key_file=key_file, pass_phrase=pass_phrase or None)


def _hub_and_device(x509: Any, common: dict[str, Any], model_id: str) -> tuple[str, str]:
    """(host name, device id) from a connection string, or from provisioning."""
    if text := os.environ.get("IOTHUB_DEVICE_CONNECTION_STRING", ""):
        parts = dict(part.split("=", 1) for part in text.split(";") if "=" in part)
        if parts.get("x509", "").lower() != "true" or not {"HostName", "DeviceId"} <= parts.keys():
            sys.exit("IOTHUB_DEVICE_CONNECTION_STRING has to be HostName=...;DeviceId=...;x509=true")
        return parts["HostName"], parts["DeviceId"]
    provisioning: Any = ProvisioningDeviceClient.create_from_x509_certificate(
        provisioning_host=_setting("PROVISIONING_HOST"),
        id_scope=_setting("PROVISIONING_IDSCOPE"),
        registration_id=_setting("DPS_X509_REGISTRATION_ID"),
        x509=x509,
        **common,
    )
    if model_id:
        provisioning.provisioning_payload = {"modelId": model_id}
    result = provisioning.register()
    if result.status != "assigned":
        sys.exit(f"not provisioned: {result.status}; see: moorage explain")
    state = result.registration_state
    say(f"provisioned as {state.device_id} on {state.assigned_hub}")
    return state.assigned_hub, state.device_id


@contextlib.contextmanager
def connected(model_id: str = "") -> Iterator[Any]:
    """A connected client for the length of a `with`. `model_id` is announced to the hub."""
    protocol = os.environ.get("PROTOCOL", "mqtt")
    if protocol not in _PROTOCOLS:
        sys.exit(f"PROTOCOL is {protocol}, and has to be one of {', '.join(_PROTOCOLS)}")
    x509 = _certificate()
    common: dict[str, Any] = {"websockets": protocol == "mqtt-ws"}
    if trust := os.environ.get("CA_BUNDLE"):
        common["server_verification_cert"] = Path(trust).read_text()
    # An error that the client met in the background is one for the user here, and no traceback.
    try:
        host, device_id = _hub_and_device(x509, common, model_id)
        client: Any = IoTHubDeviceClient.create_from_x509_certificate(
            x509=x509, hostname=host, device_id=device_id, **common, **({"product_info": model_id} if model_id else {})
        )
        try:
            client.connect()
            yield client
        finally:
            client.shutdown()
    except ClientError as error:
        cause = error.__cause__
        sys.exit(f"{type(error).__name__}: {error}{f' ({cause})' if cause else ''}; see: moorage explain")


def repeat(action: Callable[[], None]) -> None:
    """Call `action` every INTERVAL seconds, MESSAGE_COUNT times where that is set, until somebody interrupts."""
    interrupted = threading.Event()
    for number in (SIGINT, SIGTERM):
        signal(number, lambda *_: interrupted.set())
    pause_s = float(os.environ.get("INTERVAL", "2"))
    count = int(os.environ.get("MESSAGE_COUNT", "0"))
    done = 0
    while not interrupted.is_set() and (not count or done < count):
        action()
        done += 1
        interrupted.wait(pause_s)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
