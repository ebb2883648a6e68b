"""A stream of telemetry whose files are taken away under the hub."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from .test_own import Stream
from .world import ApiWorld


async def test_a_stream_tells_once_of_a_segment_that_is_gone_and_goes_on_with_what_arrives(
    world: ApiWorld, tmp_path: Path
) -> None:
    await world.send("pump-01", b"gone")
    (segment,) = (tmp_path / "telemetry").glob("*.log")
    segment.unlink()
    async with Stream(world, "from=start") as stream:
        assert await stream.part() == b": following\n\n"
        event, data, *_ = (await stream.part()).split(b"\n")
        assert event == b"event: damaged"
        damage = json.loads(data.removeprefix(b"data: "))
        assert damage["reason"] == "log.corrupt"
        assert segment.name in damage["message"]
        assert segment.name in damage["fix"]
        await world.send("pump-01", b"kept")
        ((_, message),) = await stream.take(1)
    assert base64.b64decode(message["bodyBase64"]) == b"kept"
