"""A web hook for message routes: it prints each message that comes on a line, and takes all but those that say bad.

    python hook.py 127.0.0.1 8098

A real one stands behind TLS, and has written down what it takes before it answers.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        messages = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        is_taken = not any("bad" in message["properties"] for message in messages)
        for message in messages if is_taken else ():
            properties, body = json.dumps(message["properties"]), json.dumps(message.get("body"))
            sys.stdout.write(f"{message['deviceId']} {properties} {body}\n")
        sys.stdout.flush()
        self.send_response(204 if is_taken else 400)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """What came is printed, not each request."""


HTTPServer((sys.argv[1], int(sys.argv[2])), Hook).serve_forever()
