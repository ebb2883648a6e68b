"""MQTT 3.1.1, both ends, without sockets.

strings, topics    UTF-8 strings; topic names, topic filters and how they match
packets            the control packets as values
codec              packets as bytes, and back
connection         what is legal when, and the path from bytes to callbacks
in_flight          packet ids of what was sent and not answered yet
"""
