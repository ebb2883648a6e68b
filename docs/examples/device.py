"""Provision one device with its certificate and send one message, with the unmodified azure-iot-device.

    python device.py widget-01 widget01_fullchain.pem widget01_key.pem

Reads CA_BUNDLE, DPS_ENDPOINT and DPS_ID_SCOPE, as `moorage env --format shell` sets them. Ends with 1 when the
device does not get in, and says how to learn why.
"""

import json
import logging
import os
import sys
from pathlib import Path

from azure.iot.device import X509, IoTHubDeviceClient, Message, ProvisioningDeviceClient
from azure.iot.device.exceptions import ClientError

# The SDK logs the traceback of every refusal; what it comes to is printed below.
logging.disable()
device_id, cert_file, key_file = sys.argv[1:4]
certificate = X509(cert_file=cert_file, key_file=key_file)
trust = Path(os.environ["CA_BUNDLE"]).read_text()
see = f"see: moorage explain --device {device_id}"

provisioning = ProvisioningDeviceClient.create_from_x509_certificate(
    provisioning_host=os.environ["DPS_ENDPOINT"],
    registration_id=device_id,
    id_scope=os.environ["DPS_ID_SCOPE"],
    x509=certificate,
    server_verification_cert=trust,
)
try:
    result = provisioning.register()
except ClientError as error:
    sys.exit(f"{device_id} was not provisioned: {error}; {see}")
sys.stdout.write(f"provisioning: {result.status}\n")
if result.status != "assigned":
    sys.exit(f"{device_id} was not assigned to a hub; {see}")

client = IoTHubDeviceClient.create_from_x509_certificate(
    x509=certificate,
    hostname=result.registration_state.assigned_hub,
    device_id=result.registration_state.device_id,
    server_verification_cert=trust,
)
try:
    client.connect()
    message = Message(json.dumps({"temperature": 21.5}), content_encoding="utf-8", content_type="application/json")
    client.send_message(message)
    sys.stdout.write("sent one message, and the hub has it on disk\n")
except ClientError as error:
    sys.exit(f"{device_id} did not get in: {error}; {see}")
finally:
    client.shutdown()
