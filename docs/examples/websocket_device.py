"""Connect one device in a WebSocket with a plain MQTT client, and send one message.

    python websocket_device.py PORT pump-01 pump01_fullchain.pem pump01_key.pem

Reads CA_BUNDLE and IOTHUB_HOSTNAME, as `moorage env --format shell` sets them. An SDK needs none of this: it has a
switch for WebSockets, and port 443 built in.
"""

import os
import sys

import paho.mqtt.client as paho

port, device_id, cert_file, key_file = sys.argv[1:]
host = os.environ["IOTHUB_HOSTNAME"]

client = paho.Client(device_id, transport="websockets")
client.ws_set_options("/$iothub/websocket")
client.tls_set(os.environ["CA_BUNDLE"], cert_file, key_file)
client.username_pw_set(f"{host}/{device_id}/?api-version=2021-04-12")
client.on_connect = lambda client, _data, _flags, code: (
    client.publish(f"devices/{device_id}/messages/events/", "hello", qos=1)
    if code == 0
    else sys.exit(f"{device_id}: refused, CONNACK {code}")
)
client.on_publish = lambda client, _data, _packet_id: client.disconnect()
client.connect(host, int(port))
client.loop_forever()
sys.stdout.write(f"{device_id}: its message is on disk\n")
