"""A web hook that says which hub a device goes to, by the model that the device sends along.

    python allocate.py 127.0.0.1 8099

A real one stands behind TLS.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        device = asked["deviceRuntimeContext"]
        hub = asked["linkedHubs"][0]
        if not device["registrationId"].startswith("pump-"):
            self.answer(400, {"message": "no pump"})
            return
        self.answer(
            200,
            {
                "iotHubHostName": device.get("currentIotHubHostName", hub),
                "initialTwin": {"tags": {"placed-by": "hook"}, "properties": {"desired": {"interval": 5}}},
                "payload": {"welcome": device["registrationId"]},
            },
        )

    def answer(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


HTTPServer((sys.argv[1], int(sys.argv[2])), Hook).serve_forever()
