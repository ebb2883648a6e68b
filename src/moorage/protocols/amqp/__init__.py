"""AMQP 1.0, the server's end, without sockets.

errors         error conditions, and the exception for a peer that broke the protocol
values, types  classes for AMQP's types; values as bytes, and back
performatives  the frames' bodies
message        messages, their sections and batches
sasl           what a server decides while a peer authenticates
links          sessions, links and deliveries as values that a handler sees
handler        what a connection asks of whoever answers the peer
transfers      the short ways for the frames of telemetry
unsettled      deliveries by their id, and ranges of them
framing        the bottom of a connection: headers, SASL, frames, idle timers, limits
sessions       the middle: open and close, sessions, links, flow
connection     the top, and what there is to use: messages and their outcomes
"""
