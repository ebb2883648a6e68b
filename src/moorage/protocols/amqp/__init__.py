"""AMQP 1.0, the server's end, without sockets.

errors         error conditions, and the exception for a peer that broke the protocol
types          AMQP values as bytes, and back
performatives  the frames' bodies
message        messages, their sections and batches
sasl           what a server decides while a peer authenticates
links          sessions, links and deliveries as values that a handler sees
connection     what is legal when, and the path from bytes to callbacks
"""
