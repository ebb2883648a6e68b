"""azure-eventhub against the shell: what it is told about the hub, and events of both partitions, as one JSON line."""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

from azure.eventhub import EventData, EventHubConsumerClient, EventHubProducerClient


def main(port: str, wanted: int) -> None:
    connection_string = (
        f"Endpoint=sb://localhost:{port};SharedAccessKeyName=k;SharedAccessKey=c2VjcmV0;"
        "EntityPath=hub;UseDevelopmentEmulator=true"
    )
    seen: dict[str, Any] = {"errors": []}
    consumer = EventHubConsumerClient.from_connection_string(connection_string, consumer_group="$Default")
    seen["hub"] = consumer.get_eventhub_properties()["partition_ids"]
    seen["last"] = consumer.get_partition_properties("1")["last_enqueued_sequence_number"]
    for partition, count in (("0", wanted), ("1", 3)):
        events: list[Any] = []
        is_done = threading.Event()

        def take(_: Any, event: Any, events: list[Any] = events, is_done: threading.Event = is_done) -> None:
            events.append([event.sequence_number, event.offset, len(event.body_as_str()), event.content_type])
            if len(events) >= seen["count"]:
                is_done.set()

        seen["count"] = count
        reader = threading.Thread(
            target=consumer.receive,
            kwargs={
                "on_event": take,
                "partition_id": partition,
                "starting_position": "-1",
                "on_error": lambda _, error: seen["errors"].append(repr(error)),
            },
        )
        reader.start()
        is_done.wait(60)
        seen[partition] = events[:10]
        seen[f"count {partition}"] = len(events)
        consumer.close()
        reader.join(60)
        consumer = EventHubConsumerClient.from_connection_string(connection_string, consumer_group="$Default")
    consumer.close()
    with EventHubProducerClient.from_connection_string(connection_string) as producer:
        batch = producer.create_batch()
        for size in (3, 90_000):
            batch.add(EventData(b"x" * size))
        producer.send_batch(batch)
    print(json.dumps(seen))  # noqa: T201 - this is what it is for


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
