"""What pages show for `az` is a command line that the azure-iot extension takes, with every option that it asks for."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from html import unescape
from pathlib import Path
from typing import Any, Final

import pytest

from tests.servers.world import World, eventually
from tests.web.browser import Browser
from tests.web.test_jobs import JOB, PUMP, fleet, is_over

# Of each command that is served, as the extension 0.25.0 declares them; an option has several names.
OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = json.loads(
    (Path(__file__).parent.parent / "e2e" / "az" / "central_options.json").read_text()
)
HOST: Final = "iot.example.com"
# Their values are JSON.
OF_JSON: Final = ("--content", "--destinations", "--enrichments", "--schedule", "--header", "--authorization")
SOON: Final = {"recurrence": "daily", "start_date": "2099-01-31", "start_time": "08:00"}
HOOK: Final = {"id": "hook", "name": "It's", "kind": "webhook", "address": "https://h.example/", "credential": "x"}
EXPORT: Final = {"id": "out", "name": "Out", "source": "telemetry", "use0": "hook", "ekey0": "a", "evalue0": "$b"}
GROUP: Final = {"id": "hot", "name": "Hot", "description": "a b", "by": "rows", "template": PUMP, "path0": "limit"}
PAGES: Final = (
    "/devices/new?template=" + PUMP,
    "/devices/pump-01/code",
    "/devices/pump-01/manage",
    "/devices/pump-01/migrate",
    "/devices/pump-01/properties",
    "/devices/pump-01/command",
    "/devices/pump-01/connect",
    "/device-templates/new",
    f"/device-templates/{PUMP}",
    "/groups/MyX509Group",
    "/groups/MyX509Group/primary",
    "/users",
    "/organizations",
    "/organizations/plant",
    "/tokens",
    "/exports/new",
    "/exports/out",
    "/exports/destinations/new",
    "/exports/destinations/hook",
    "/jobs/job-1",
    "/jobs/scheduled/job-2",
    "/device-groups/new?template=" + PUMP,
    "/device-groups/hot",
)
LISTING = re.compile(r"<summary>az</summary>.*?<code>(.*?)</code>", re.DOTALL)


async def texts_of(world: World, browser: Browser) -> list[str]:
    """One of much, and what is shown of it."""
    await fleet(world)
    await browser.submit("/groups", {"name": "MyX509Group", "type": "iot", "attestation": "x509"})
    await browser.submit("/organizations", {"id": "plant", "name": "The plant", "parent": ""})
    await browser.submit("/exports/destinations", HOOK)
    await browser.submit("/exports", {**EXPORT, "act": "save"})
    await browser.submit("/device-groups", {**GROUP, "operator0": ">", "value0": "20"})
    pages = [
        await browser.submit("/jobs", {**JOB, "step": "2", "go": "next"}),
        await browser.submit("/jobs", {**JOB, **SOON, "step": "2", "go": "next"}),
        # Nobody is there to take it.
        await browser.submit("/jobs", {**JOB, "kind": "command", "cpath": "restart", "step": "3", "go": "run"}),
    ]
    await browser.submit("/jobs", {**JOB, **SOON, "id": "job-2", "step": "3", "go": "run"})
    await eventually(is_over(world, "job-1"))
    pages += [await browser.open(path) for path in PAGES]
    assert [(page.url.path, page.status_code) for page in pages if page.status_code != 200] == []
    return list(dict.fromkeys(unescape(text) for page in pages for text in LISTING.findall(page.text)))


async def words_of(texts: list[str], folder: Path) -> list[list[str]]:
    """The words of each command, as a shell makes them of the lines."""
    (folder / "certificate.pem").write_text("a file")
    script = "az() { printf '%s\\0' \"$@\"; printf '\\1\\0'; }\n" + "\n".join(texts)
    shell = await asyncio.create_subprocess_exec(
        "bash",
        "-euc",
        script,
        cwd=folder,
        env={
            "PATH": "/usr/bin:/bin",
            "MOORAGE_TOKEN": "a token",
            "DESTINATION_URL": "u",
            "DESTINATION_CREDENTIAL": "c",
        },
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await shell.communicate()
    assert shell.returncode == 0
    return [each.split("\0")[:-1] for each in said.decode().split("\1\0")[:-1]]


def command_of(words: list[str]) -> tuple[str, dict[str, str]]:
    """The name of a command below `az iot central`, and its options."""
    assert words[:2] == ["iot", "central"]
    first = next(at for at, word in enumerate(words) if word.startswith("--"))
    options, rest = dict[str, str](), words[first:]
    while rest:
        option, *rest = rest
        assert option.startswith("--") and option not in options, words
        has_value = bool(rest) and not rest[0].startswith("--")
        options[option] = rest.pop(0) if has_value else ""
    return " ".join(words[2:first]), options


@pytest.mark.parametrize("world", [{"hostnames": f"{HOST},127.0.0.1", "bind": "127.0.0.1"}], indirect=True)
async def test_every_line_for_az_is_one_that_it_takes(world: World, browser: Browser, tmp_path: Path) -> None:
    texts = await texts_of(world, browser)
    shown = set()
    for words in await words_of(texts, tmp_path):
        name, given = command_of(words)
        shown.add(name)
        assert name in OPTIONS, f"az iot central {name} is no command, or not of what is served"
        takes = OPTIONS[name]
        known = {*takes["optional"], *(option for names in takes["required"] for option in names)}
        assert given.keys() <= known, words
        assert all(given.keys() & set(names) for names in takes["required"]), words
        assert all(given[option] in choices for option, choices in takes.get("choices", {}).items() if option in given)
        assert all(given.values()) or not {each for each in given if not given[each]} - set(takes.get("several", {}))
        assert (given["--app-id"], given["--token"]) == ("iot", "a token")
        assert re.fullmatch(r"example\.com:\d+", given["--central-dns-suffix"])
        for option in OF_JSON:
            assert option not in given or isinstance(json.loads(given[option]), dict | list), words
    # What is more than reading, and has words there.
    assert shown >= {
        "device create",
        "device update",
        "device delete",
        "device command run",
        "device-group create",
        "device-group update",
        "device-group delete",
        "device-template delete",
        "enrollment-group create",
        "enrollment-group delete",
        "export create",
        "export update",
        "export delete",
        "export destination create",
        "export destination update",
        "export destination delete",
        "job create",
        "job rerun",
        "job get-devices",
        "scheduled-job create",
        "scheduled-job delete",
        "organization create",
        "organization delete",
        "user create",
        "user delete",
        "api-token create",
        "api-token delete",
    }
