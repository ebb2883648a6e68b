"""A hub as a process of its own: signals, files it may open, and an interpreter that leaves the loop alone."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable

import uvloop

from moorage.app import App
from moorage.config import Config, misspelt_variables
from moorage.hub_info import HubInfo
from moorage.ids import Secret

__all__ = ["run_hub"]

log = logging.getLogger(__name__)

# Of the log, the registry and the ports; some of them for every thread.
_FILES_BESIDE_SOCKETS = 500
# A limit above it is what systems give, and enough for most fleets; one below it is somebody's to raise.
_FEW_FILES = 4096


def run_hub(config: Config, *, announce: Callable[[HubInfo, Secret | None], None]) -> int:
    """Run a hub until SIGINT, SIGTERM or SIGHUP; returns the exit status.

    `announce` is called once the ports are open, with the path of a sign-in link while nobody can sign in.
    """

    async def run() -> None:
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        for number in stops:
            loop.add_signal_handler(number, stopped.set)
        app = App(config)
        try:
            info = await app.start()
            announce(info, None if info.web_port is None else await app.accounts.first_link())
            _spare_the_loop()
            warming = asyncio.create_task(_warm(app, info))
            await stopped.wait()
            warming.cancel()
        finally:
            await app.stop()

    stops = [signal.SIGINT, signal.SIGTERM]
    # Under nohup it is ignored, and stays so.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        stops.append(signal.SIGHUP)
    level = _log_level(config.log)
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for handler in logging.getLogger().handlers:
        # The audit trail hears what the log leaves out.
        handler.setLevel(level)
    for name, meant in misspelt_variables(os.environ).items():
        log.warning("variable_unknown name=%s; did you mean %s?", name, meant)
    # On each of four ports.
    _allow_sockets(4 * config.max_connections)
    uvloop.run(run())
    return 0


async def _warm(app: App, info: HubInfo) -> None:
    if info.web_port is not None:
        await app.web.warm()


def _log_level(wanted: str) -> int:
    if wanted == "auto":
        wanted = "warning" if sys.stderr.isatty() else "info"
    return logging.WARNING if wanted == "warning" else logging.INFO


def _allow_sockets(connections: int) -> None:
    """Let this process have a file for each of so many connections, as far as the system lets us.

    A shell gives 1024, and everybody behind the thousandth device would be closed without a word.
    """
    wanted = connections + _FILES_BESIDE_SOCKETS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if resource.RLIM_INFINITY != soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < wanted:
        level = logging.WARNING if most < _FEW_FILES else logging.INFO
        log.log(level, "files_limited most=%d wanted=%d; raise the hard limit (ulimit -Hn)", most, wanted)


def _spare_the_loop() -> None:
    """Keep the interpreter's own pauses away from devices that wait (decisions S8); measured while pages were made.

    The collector of cycles took 80 to 170 ms to look at everything, and finds next to nothing: connections are freed
    without it. What was made for good is put out of its sight, and it looks at the old ones a hundred times more
    seldom. A thread that encodes a page hands the interpreter over after 1 ms instead of 5, which is what every wait of
    the loop for it costs: the 99th percentile went from 24 to 10 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 100)
    sys.setswitchinterval(0.001)
