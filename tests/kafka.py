"""A Kafka cluster inside the test: librdkafka's own, which speaks the protocol on sockets of this machine.

The library comes with `confluent-kafka`, whose Python side can start such a cluster and no more. What a test needs
besides, a broker that goes and comes back or that tells of another address, is in the library's C interface, which is
called here. Every function of it is safe to call from any thread and waits for no network.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import confluent_kafka

__all__ = ["MESSAGE_TOO_LARGE", "TOPIC_AUTHORIZATION_FAILED", "Cluster", "cluster"]

# Error codes and keys of the Kafka protocol.
MESSAGE_TOO_LARGE: Final = 10
TOPIC_AUTHORIZATION_FAILED: Final = 29
_PRODUCE: Final = 0
_RD_KAFKA_PRODUCER: Final = 0
_PATIENCE_S: Final = 60.0


@cache
def _library() -> ctypes.CDLL:
    (path,) = Path(confluent_kafka.__file__).parent.with_name("confluent_kafka.libs").glob("librdkafka-*.so*")
    library = ctypes.CDLL(str(path))
    pointer, text, whole = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    for name, result, arguments in (
        ("rd_kafka_conf_new", pointer, ()),
        ("rd_kafka_conf_set", whole, (pointer, text, text, pointer, ctypes.c_size_t)),
        ("rd_kafka_new", pointer, (whole, pointer, pointer, ctypes.c_size_t)),
        ("rd_kafka_destroy", None, (pointer,)),
        ("rd_kafka_mock_cluster_new", pointer, (pointer, whole)),
        ("rd_kafka_mock_cluster_destroy", None, (pointer,)),
        ("rd_kafka_mock_cluster_bootstraps", text, (pointer,)),
        ("rd_kafka_mock_topic_create", whole, (pointer, text, whole, whole)),
        ("rd_kafka_mock_topic_set_error", None, (pointer, text, whole)),
        ("rd_kafka_mock_broker_set_down", whole, (pointer, ctypes.c_int32)),
        ("rd_kafka_mock_broker_set_up", whole, (pointer, ctypes.c_int32)),
        ("rd_kafka_mock_broker_set_host_port", whole, (pointer, ctypes.c_int32, text, whole)),
        ("rd_kafka_mock_push_request_errors_array", None, (pointer, ctypes.c_int16, ctypes.c_size_t, pointer)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class Cluster:
    """Its brokers are numbered from 1, each with an address as `127.0.0.1:41234`."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        addresses: str = _library().rd_kafka_mock_cluster_bootstraps(handle).decode()
        self.addresses = tuple(addresses.split(","))

    def create_topic(self, name: str, partitions: int = 1) -> None:
        self._call("rd_kafka_mock_topic_create", name.encode(), partitions, 1)

    def refuse_topic(self, name: str, error: int) -> None:
        """From now on; 0 takes it again."""
        _library().rd_kafka_mock_topic_set_error(self._handle, name.encode(), error)

    def refuse_produce(self, *errors: int) -> None:
        """Answer the next requests to produce so."""
        codes = (ctypes.c_int * len(errors))(*errors)
        _library().rd_kafka_mock_push_request_errors_array(self._handle, _PRODUCE, len(errors), codes)

    def stop(self, broker: int = 1) -> None:
        """It closes its connections and takes none."""
        self._call("rd_kafka_mock_broker_set_down", broker)

    def start(self, broker: int = 1) -> None:
        self._call("rd_kafka_mock_broker_set_up", broker)

    def advertise(self, host: str, port: int, broker: int = 1) -> None:
        """What metadata say of where it is."""
        self._call("rd_kafka_mock_broker_set_host_port", broker, host.encode(), port)

    def read(self, topic: str, count: int) -> list[Any]:
        """The first `count` records of `topic`, by a client of its own; waits for them."""
        found: list[Any] = []
        consumer = confluent_kafka.Consumer(
            {"bootstrap.servers": ",".join(self.addresses), "group.id": "tests", "auto.offset.reset": "earliest"}
        )
        try:
            partitions = consumer.list_topics(topic, timeout=_PATIENCE_S).topics[topic].partitions
            consumer.assign([confluent_kafka.TopicPartition(topic, each, 0) for each in partitions])
            until = time.monotonic() + _PATIENCE_S
            while len(found) < count:
                assert time.monotonic() < until, f"{len(found)} of {count} records came"
                record = consumer.poll(0.2)
                if record is not None and record.error() is None:
                    found.append(record)
        finally:
            consumer.close()
        return found

    def _call(self, name: str, *arguments: Any) -> None:
        error = getattr(_library(), name)(self._handle, *arguments)
        assert error == 0, f"{name} answered {error}"


@contextmanager
def cluster(brokers: int = 1) -> Iterator[Cluster]:
    library = _library()
    settings = library.rd_kafka_conf_new()
    # It would tell that it has no brokers to connect to.
    library.rd_kafka_conf_set(settings, b"log_level", b"0", None, 0)
    client = library.rd_kafka_new(_RD_KAFKA_PRODUCER, settings, None, 0)
    handle = library.rd_kafka_mock_cluster_new(client, brokers)
    try:
        yield Cluster(handle)
    finally:
        library.rd_kafka_mock_cluster_destroy(handle)
        library.rd_kafka_destroy(client)
