"""Connect one device to the hub by its certificate, without provisioning, and send one message.

    python connect.py pump-01 pump01_fullchain.pem pump01_key.pem [--stay]

With --stay it keeps the connection until the hub closes it. Reads CA_BUNDLE and IOTHUB_HOSTNAME, as
`moorage env --format shell` sets them. Ends with 1 when the device does not get in, and says what the SDK says.
"""

import logging
import os
import sys
import threading
from pathlib import Path

from azure.iot.device import X509, IoTHubDeviceClient
from azure.iot.device.exceptions import ClientError

# The SDK logs the traceback of every refusal; what it comes to is printed below.
logging.disable()
device_id, cert_file, key_file, *options = sys.argv[1:]
client = IoTHubDeviceClient.create_from_x509_certificate(
    x509=X509(cert_file=cert_file, key_file=key_file),
    hostname=os.environ["IOTHUB_HOSTNAME"],
    device_id=device_id,
    server_verification_cert=Path(os.environ["CA_BUNDLE"]).read_text(),
    connection_retry=False,
)
closed = threading.Event()
client.on_connection_state_change = lambda: client.connected or closed.set()
try:
    client.connect()
    client.send_message("hello")
    sys.stdout.write(f"{device_id}: connected, and its message is on disk\n")
    sys.stdout.flush()
    if "--stay" in options:
        closed.wait()
        sys.stdout.write(f"{device_id}: the hub closed the connection\n")
except ClientError as error:
    sys.exit(f"{device_id}: {error}")
finally:
    client.shutdown()
