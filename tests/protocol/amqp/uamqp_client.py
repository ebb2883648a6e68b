"""uamqp, which azure-iot-hub sends cloud-to-device messages with, against the shell; what it saw as one JSON line."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import uamqp
from uamqp.authentication import SASTokenAuth


def main(port: str, trusted: str) -> None:
    def token() -> Any:
        audience = f"https://localhost:{port}"
        expires_at = int(time.time()) + 3600
        return SASTokenAuth(
            audience, audience, "SharedAccessSignature sr=x", expires_at=expires_at, port=int(port), verify=trusted
        )

    sender = uamqp.SendClient(f"amqps://localhost:{port}/queue", auth=token())
    for number in range(20):
        sender.queue_message(
            uamqp.Message(
                b"z" * (200_000 if number == 5 else number),
                properties=uamqp.message.MessageProperties(message_id=f"m{number}"),
                application_properties={"number": str(number)},
            )
        )
    seen: dict[str, Any] = {
        "sent": [str(each) for each in sender.send_all_messages(close_on_done=True)],
        "received": [],
    }
    receiver = uamqp.ReceiveClient(f"amqps://localhost:{port}/queue", auth=token(), prefetch=5)
    while len(seen["received"]) < 20:
        for message in receiver.receive_message_batch(max_batch_size=5, timeout=20_000):
            seen["received"].append([message.properties.message_id.decode(), len(b"".join(message.get_data()))])
            message.accept()
    receiver.close()
    print(json.dumps(seen), flush=True)  # noqa: T201 - this is what it is for


if __name__ == "__main__":
    main(*sys.argv[1:])
