"""What the AMQP commands of `az iot` do, with the uamqp that they do it with. A program; one JSON document a line.

    messaging.py COMMAND CONNECTION_STRING CA_BUNDLE [ARGUMENTS]

    monitor-events SINCE_MS         `az iot hub monitor-events`: redirect, READ, all partitions on one connection
    monitor-feedback                `az iot hub monitor-feedback`: goes on receiving after what it took
    c2d-message-send DEVICE_ID ...  `az iot device c2d-message send`: the JSON of its flags
    central-monitor-events TOKEN    `az iot central diagnostics monitor-events`: where to read is asked for over HTTPS

How the extension (azext_iot/monitor of 0.25.0) forms addresses, credentials, filters and properties is kept here word
for word; how it prints and parses is not.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, quote_plus, urlencode, urlparse

import certifi
import requests

# Trusted by uamqp, and nothing else is.
certifi.where = lambda: sys.argv[3]

import uamqp  # noqa: E402  # reads what certifi says when it is imported


def say(document: object) -> None:
    print(json.dumps(document), flush=True)  # noqa: T201  # this is what it is for


def text(value: Any) -> Any:
    """Bytes, also in maps, as text."""
    if isinstance(value, Mapping):
        return {text(name): text(each) for name, each in value.items()}
    return value.decode() if isinstance(value, bytes) else value


class Target:
    """A hub, by its connection string."""

    def __init__(self, connection_string: str) -> None:
        parts = dict(part.split("=", 1) for part in connection_string.split(";"))
        self.host, self.policy, self.key = parts["HostName"], parts["SharedAccessKeyName"], parts["SharedAccessKey"]

    def endpoint(self, path: str) -> str:
        """An address with user name and password in it, which uamqp says by SASL PLAIN."""
        expiry = int(time.time() + 360)
        signed = f"{quote_plus(self.host)}\n{expiry}".encode()
        signature = base64.b64encode(hmac.digest(base64.b64decode(self.key), signed, hashlib.sha256))
        fields = {"sr": self.host, "sig": signature, "se": str(expiry), "skn": self.policy}
        token = "SharedAccessSignature " + urlencode(fields)
        user = f"{self.policy}@sas.root.{self.host.split('.')[0]}"
        return f"amqps://{quote(user, safe='')}:{quote(token, safe='')}@{self.host}{path}"


# -- commands ----------------------------------------------------------------------------------------------------------


def send(target: Target, device_id: str, given: str) -> None:
    flags = json.loads(given)
    properties = uamqp.message.MessageProperties()
    properties.to = f"/devices/{device_id}/messages/devicebound"
    for name, value in flags.get("system", {}).items():
        setattr(properties, name, value)
    message = uamqp.Message(
        body=flags["data"].encode(),
        properties=properties,
        application_properties={**flags.get("properties", {}), "iothub-ack": flags.get("ack", "none")},
    )
    client = uamqp.SendClient(target=target.endpoint("/messages/devicebound"), auth=None, client_name="az/1")
    client.queue_message(message)
    say({"sent": [str(state) for state in client.send_all_messages()]})


def feedback(target: Target) -> None:
    client = uamqp.ReceiveClient(
        source=target.endpoint("/messages/servicebound/feedback"), auth=None, client_name="az/2"
    )
    say({"listening": True})
    for message in client.receive_messages_iter():
        say({"feedback": json.loads(next(message.get_data()))})


async def redirected(target: Target) -> dict[str, Any]:
    source = uamqp.address.Source(target.endpoint("/messages/events/$management"))
    client = uamqp.ReceiveClientAsync(source, timeout=30000, prefetch=1)
    try:
        await client.open_async()
        await client.receive_message_batch_async(max_batch_size=1)
    except uamqp.errors.LinkRedirect as redirect:
        said = {"hostname": text(redirect.hostname), "address": text(redirect.address)}
        say({"redirect": {**said, "port": redirect.port}})
        return said
    finally:
        await client.close_async()
    raise AssertionError("there was no redirect")


def authentication(target: Target, host: str, path: str) -> Any:
    uri = f"sb://{host}/{path}"
    return uamqp.authentication.SASTokenAsync.from_shared_access_key(uri, target.policy, target.key)


async def described(address: str, path: str, auth: Any) -> dict[str, Any]:
    client = uamqp.ReceiveClientAsync(uamqp.address.Source(address), auth=auth, timeout=30000)
    try:
        await client.open_async()
        answer = await client.mgmt_request_async(
            uamqp.Message(application_properties={"name": path}),
            b"READ",
            op_type=b"com.microsoft:eventhub",
            status_code_field=b"status-code",
            description_fields=b"status-description",
            timeout=30000,
        )
        return dict(text(answer.get_data()))
    finally:
        await client.close_async()


async def events(target: Target, since_ms: str) -> None:
    where = await redirected(target)
    host = where["hostname"]
    path = where["address"].replace("amqps://", "").split("/")[1]
    known = await described(where["address"], path, authentication(target, host, path))
    partitions = [text(each) for each in known["partition_ids"]]
    say({"partitions": partitions, "name": known["name"], "count": known["partition_count"]})
    await follow_all(authentication(target, host, path), host, path, partitions, since_ms)


def tokens(target: Target, token: str) -> list[dict[str, Any]]:
    url = f"https://{target.host}/system/iothubs/generateEventSasTokens"
    answer = requests.post(url, headers={"Authorization": token}, verify=sys.argv[3], timeout=60)
    return list(answer.json().values())


async def central_events(tokens: list[dict[str, Any]]) -> None:
    for given in tokens:
        found = given["eventhubSasToken"]
        host, path = urlparse(found["hostname"]).hostname, found["entityPath"]

        def authenticated(host: Any = host, path: str = path, given: Any = given) -> Any:
            uri = f"sb://{host}/{path}"
            return uamqp.authentication.SASTokenAsync(
                audience=uri, uri=uri, expires_at=given["expiry"], token=given["eventhubSasToken"]["sasToken"]
            )

        known = await described(f"amqps://{host}/{path}/$management", path, authenticated())
        partitions = [str(number) for number in range(int(known["partition_count"]))]
        say({"partitions": partitions})
        await follow_all(authenticated(), str(host), path, partitions, "0")


async def follow_all(auth: Any, host: str, path: str, partitions: list[str], since_ms: str) -> None:
    async with uamqp.ConnectionAsync(
        host, sasl=auth, container_id="az/3", properties={"product": "az", "version": "0"}
    ) as connection:
        await asyncio.gather(*(follow(connection, auth, host, path, each, since_ms) for each in partitions))


async def follow(connection: Any, auth: Any, host: str, path: str, partition: str, since_ms: str) -> None:
    source = uamqp.address.Source(f"amqps://{host}/{path}/ConsumerGroups/$Default/Partitions/{partition}")
    source.set_filter(f"amqp.annotation.x-opt-enqueuedtimeutc > {since_ms}".encode())
    client = uamqp.ReceiveClientAsync(source, auth=auth, timeout=0, prefetch=0, client_name="az/3")
    await client.open_async(connection=connection)
    async for message in client.receive_messages_iter_async():
        annotations = text(message.annotations)
        say(
            {
                "event": {
                    "origin": annotations["iothub-connection-device-id"],
                    "source": annotations["iothub-message-source"],
                    "module": annotations.get("iothub-connection-module-id"),
                    "interface": annotations.get("dt-dataschema"),
                    "component": annotations.get("dt-subject"),
                    "content_type": text(message.properties.content_type),
                    "content_encoding": text(message.properties.content_encoding),
                    "application": text(message.application_properties),
                    "payload": next(message.get_data()).decode(),
                }
            }
        )


def main(command: str, connection_string: str, _trust: str, *arguments: str) -> None:
    target = Target(connection_string)
    match command:
        case "c2d-message-send":
            send(target, *arguments)
        case "monitor-feedback":
            feedback(target)
        case "monitor-events":
            asyncio.run(events(target, *arguments))
        case "central-monitor-events":
            asyncio.run(central_events(tokens(target, *arguments)))
    # uamqp complains when the interpreter takes its modules away before it.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
