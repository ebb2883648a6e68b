"""The other sides of message routes (port: `hub/router.py`, `Sink`), one module a kind of endpoint."""
