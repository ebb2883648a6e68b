"""Asyncio shells: sockets, timers, back-pressure, shutdown."""
