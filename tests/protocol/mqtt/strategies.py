"""Any legal packet, for hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from moorage.protocols.mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    ReturnCode,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Will,
)
from moorage.protocols.mqtt.topics import TopicFilter, TopicName, parse_topic_filter, parse_topic_name

__all__ = ["packets", "publishes", "topic_filters", "topic_names"]

packet_ids = st.integers(1, 65535)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
levels = st.text(st.sampled_from("ab$/ü%&=. "), max_size=4)
topic_names: st.SearchStrategy[TopicName] = (
    st.lists(levels, min_size=1, max_size=4).map("/".join).filter(bool).map(parse_topic_name)
)
topic_filters: st.SearchStrategy[TopicFilter] = st.tuples(
    st.lists(levels.filter(lambda level: "/" not in level) | st.just("+"), max_size=4), st.sampled_from(["", "#", "a"])
).map(lambda parts: parse_topic_filter("/".join([*parts[0], parts[1]]) or "#"))
bodies = st.binary(max_size=300)


def _publish(topic: TopicName, body: bytes, qos: int, packet_id: int, dup: bool, retain: bool) -> Publish:
    return Publish(topic, body, qos, packet_id if qos else 0, dup and qos > 0, retain)


def _connect(packet: Connect, credentials: tuple[str | None, bytes | None]) -> Connect:
    user_name, password = credentials
    return Connect(
        packet.client_id,
        packet.clean_session,
        packet.keep_alive_s,
        user_name,
        password if user_name is not None else None,
        packet.will,
    )


publishes = st.builds(_publish, topic_names, bodies, st.integers(0, 1), packet_ids, st.booleans(), st.booleans())
wills = st.builds(Will, topic_names, bodies, st.integers(0, 2), st.booleans())
connects = st.builds(
    _connect,
    st.builds(
        Connect,
        client_id=texts,
        clean_session=st.booleans(),
        keep_alive_s=st.integers(0, 65535),
        will=st.none() | wills,
    ),
    st.tuples(st.none() | texts, st.none() | bodies),
)
connacks = st.builds(ConnAck, st.just(ReturnCode.ACCEPTED), st.booleans()) | st.builds(
    ConnAck, st.sampled_from(ReturnCode)
)
packets: st.SearchStrategy[Packet] = st.one_of(
    connects,
    connacks,
    st.builds(_publish, topic_names, bodies, st.integers(0, 2), packet_ids, st.booleans(), st.booleans()),
    st.builds(PubAck, packet_ids),
    st.builds(PubRec, packet_ids),
    st.builds(PubRel, packet_ids),
    st.builds(PubComp, packet_ids),
    st.builds(
        Subscribe,
        packet_ids,
        st.lists(st.builds(Subscription, topic_filters, st.integers(0, 2)), min_size=1, max_size=5).map(tuple),
    ),
    st.builds(SubAck, packet_ids, st.lists(st.sampled_from([0, 1, 2, 0x80]), min_size=1, max_size=5).map(tuple)),
    st.builds(Unsubscribe, packet_ids, st.lists(topic_filters, min_size=1, max_size=5).map(tuple)),
    st.builds(UnsubAck, packet_ids),
    st.just(PingReq()),
    st.just(PingResp()),
    st.just(Disconnect()),
)
