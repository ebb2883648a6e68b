"""A device with a certificate: it sends what it measures, and prints the messages it is sent."""

import json
import random
from typing import Any

from azure.iot.device import Message
from device import connected, repeat, say


def measured() -> Any:
    temperature = random.uniform(20, 30)
    body = json.dumps({"temperature": temperature, "humidity": random.uniform(60, 80)})
    message = Message(body, content_encoding="utf-8", content_type="application/json")
    message.custom_properties["temperatureAlert"] = str(temperature > 28).lower()
    return message


def main() -> None:
    with connected() as client:
        say("connected")
        client.on_message_received = lambda message: say(f"message: {message.data.decode()}")

        def send() -> None:
            message = measured()
            client.send_message(message)
            say(f"sent {message.data}")

        repeat(send)


main()
