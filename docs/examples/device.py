"""Provision one device with its certificate and send one message, with the unmodified azure-iot-device.

    python device.py widget-01 widget01_fullchain.pem widget01_key.pem

Reads CA_BUNDLE, DPS_ENDPOINT and DPS_ID_SCOPE, as `moorage env --format shell` sets them.
"""

import json
import os
import sys
from pathlib import Path

from azure.iot.device import X509, IoTHubDeviceClient, Message, ProvisioningDeviceClient

device_id, cert_file, key_file = sys.argv[1:4]
certificate = X509(cert_file=cert_file, key_file=key_file)
trust = Path(os.environ["CA_BUNDLE"]).read_text()

provisioning = ProvisioningDeviceClient.create_from_x509_certificate(
    provisioning_host=os.environ["DPS_ENDPOINT"],
    registration_id=device_id,
    id_scope=os.environ["DPS_ID_SCOPE"],
    x509=certificate,
    server_verification_cert=trust,
)
result = provisioning.register()
sys.stdout.write(f"provisioning: {result.status}\n")
if result.status != "assigned":
    sys.exit(f"{device_id} was not assigned to a hub; see: moorage explain --device {device_id}")

client = IoTHubDeviceClient.create_from_x509_certificate(
    x509=certificate,
    hostname=result.registration_state.assigned_hub,
    device_id=result.registration_state.device_id,
    server_verification_cert=trust,
)
client.connect()
message = Message(json.dumps({"temperature": 21.5}), content_encoding="utf-8", content_type="application/json")
client.send_message(message)
sys.stdout.write("sent one message, and the hub has it on disk\n")
client.shutdown()
