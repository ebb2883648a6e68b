"""Every guide does what it says: its shell blocks run in order on a real hub, and print what it shows.

How a guide is read:

- A block in `sh` is run by bash, in the folder that the blocks before it left behind, which begins empty but for the
  `docs/examples` of this repository. Other languages are not run.
- A line that ends in `# exit code N` is expected to fail so; any other failure fails the guide.
- A block in `text` that follows one in `sh` is what that one prints, standard error included. In it `...` stands for
  any text, and a line of its own for any lines. Values that differ from run to run (times, thumbprints, keys, tracking
  ids, serial numbers, ports of clients) are compared by their form alone.
- A block behind a line that holds nothing but a file name in backquotes and a colon is written to that file.

Each guide has a hub to itself, which it starts by itself or finds running, on an address that no other test has; so the
one in the text, 127.0.0.1, is replaced.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hubs import SDK_MQTT_PORT, own_address, sdk_hub

HERE = Path(__file__).resolve().parents[2]
# The port that is taken where 443 is not permitted, and that the guides show.
HTTPS_PORT = 8443
_AT_ONCE = 3
# Beside tests/e2e/node, which runs it with the SDKs for Node.
ELSEWHERE = {"provision-node.md"}
# Programs that a guide has its reader install.
NEEDED = {"provision-with-a-tpm.md": (("swtpm", "tpm2_createek"), "sudo apt-get install swtpm tpm2-tools")}
GUIDES = [
    page
    for folder in ("how-to", "tutorials")
    for page in sorted((HERE / "docs" / folder).glob("*.md"))
    if page.name not in ELSEWHERE
]

_FENCE = re.compile(r"^( *)```([a-z]+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"`([\w./-]+)`:\n\n\Z")
_EXIT_CODE = re.compile(r"^(.+?) +# exit code (\d+)$", re.MULTILINE)
_FORMS = (
    (re.compile(r"\b[0-9A-Fa-f]{32,}\b"), "<hex>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?Z?"), "<time>"),
    (
        re.compile(
            r"\b\d{1,2} (?:January|February|March|April|May|June|July|August|September|October|November|December) \d{4}"
        ),
        "<date>",
    ),
    (re.compile(r"\b\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT"), "<time>"),
    (re.compile(r"\b127\.\d+\.\d+\.\d+(?::\d+)?"), "<address>"),
    (re.compile(r"\b0ne[0-9A-F]{8}\b"), "<id scope>"),
    (re.compile(r"[A-Za-z0-9+/]{40,}=*"), "<base64>"),
    (re.compile(r"\b[0-9A-F]{2}(?::[0-9A-F]{2}){15,}"), "<hex>"),
)


@dataclass(frozen=True)
class Block:
    """A shell block, the files to write before it, and what it prints, where the guide shows that."""

    line: int
    shell: str
    files: tuple[tuple[str, str], ...]
    shown: str | None


def blocks_of(text: str) -> list[Block]:
    blocks: list[Block] = []
    files: list[tuple[str, str]] = []
    end = 0
    for match in _FENCE.finditer(text):
        indent, language, body = match[1], match[2], match[3]
        body = "".join(line.removeprefix(indent) for line in body.splitlines(keepends=True))
        between = text[end : match.start()]
        end = match.end()
        named = _FILE.search(between)
        if named:
            files.append((named[1], body))
        elif language == "sh":
            blocks.append(Block(text.count("\n", 0, match.start()) + 2, body, tuple(files), None))
            files.clear()
        elif language == "text" and blocks and not between.strip() and blocks[-1].shown is None:
            last = blocks[-1]
            blocks[-1] = Block(last.line, last.shell, last.files, body)
    return blocks


def form_of(text: str) -> str:
    """`text` with what differs from run to run named by its kind."""
    for pattern, name in _FORMS:
        text = pattern.sub(name, text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def looks_like(said: str, shown: str) -> bool:
    parts = []
    for line in form_of(shown).splitlines():
        if line.strip() == "...":
            parts.append(r"(?:.*\n)*?")
        else:
            parts.append(".*".join(re.escape(part) for part in line.split("...")) + "\n")
    return re.fullmatch("".join(parts), form_of(said) + "\n") is not None


def script_of(blocks: list[Block], address: str) -> str:
    """One bash program; each block announces itself by a line, so that what it prints can be told apart."""
    lines = ["set -euo pipefail", "trap 'kill $(jobs -p) 2>/dev/null && wait || true' EXIT"]
    for number, block in enumerate(blocks):
        lines.append(f"printf '\\n<block {number}>\\n'")
        for name, body in block.files:
            lines.append(f"mkdir -p \"$(dirname {name})\"; cat > {name} <<'EndOfFile'\n{body}EndOfFile")
        expecting = r'code=0; { \1; } || code=$?; test $code = \2 || { echo "exit code $code instead of \2"; exit 99; }'
        lines.append(_EXIT_CODE.sub(expecting, block.shell).replace("127.0.0.1", address))
    return "\n".join(lines)


def play(blocks: list[Block], folder: Path, environment: dict[str, str], address: str) -> None:
    """Run `blocks` in `folder`; fails with what was said where something is not as shown."""
    run = subprocess.Popen(
        ["bash", "-c", script_of(blocks, address)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = run.communicate(timeout=400)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        output, _ = run.communicate()
    said = re.split(r"\n<block \d+>\n", output)[1:]
    for block, told in zip(blocks, said, strict=False):
        if block.shown is not None and (run.returncode == 0 or block is not blocks[len(said) - 1]):
            assert looks_like(told, block.shown), (
                f"the block in line {block.line} says\n{form_of(told)}\nand the guide shows\n{form_of(block.shown)}"
            )
    last = blocks[max(len(said) - 1, 0)]
    assert run.returncode == 0, f"the block in line {last.line} ended with {run.returncode}:\n{output[-6000:]}"


@pytest.fixture(scope="module")
def plays(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Path, Future[None]]]:
    """Every guide that is asked for, played at the same time: they wait for processes to start more than they work."""
    wanted = {
        item.callspec.params["guide"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == test_a_guide_does_what_it_says.__name__
    }
    folder = tmp_path_factory.mktemp("guides")
    # The longest first.
    chosen = sorted((guide for guide in GUIDES if guide in wanted), key=lambda guide: -guide.stat().st_size)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield {guide: pool.submit(play_guide, guide, folder / guide.stem) for guide in chosen}


def play_guide(guide: Path, folder: Path) -> None:
    programs, install = NEEDED.get(guide.name, ((), ""))
    if missing := [program for program in programs if shutil.which(program) is None]:
        pytest.skip(f"needs {' and '.join(missing)}: {install}")
    blocks = blocks_of(guide.read_text())
    assert blocks, f"{guide.name} has nothing to run"
    shutil.copytree(HERE / "docs" / "examples", folder / "here" / "docs" / "examples")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MOORAGE_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    # Where every guide says that its hub is.
    data = folder / "here" / "build" / "hub"
    data.parent.mkdir()
    environment["MOORAGE_DATA"] = str(data)
    if any("moorage up" in block.shell for block in blocks):
        address = own_address(SDK_MQTT_PORT, HTTPS_PORT)
        settings = {"BIND": address, "HOSTNAME": address, "HTTPS_PORT": HTTPS_PORT}
        environment |= {f"MOORAGE_{name}": str(value) for name, value in settings.items()}
        play(blocks, folder / "here", environment, address)
    else:
        with sdk_hub(data, https_port=HTTPS_PORT) as hub:
            play(blocks, folder / "here", environment, hub.hostname)


# With the guides that were played before this one.
@pytest.mark.guide
@pytest.mark.timeout(900)
@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_a_guide_does_what_it_says(guide: Path, plays: dict[Path, Future[None]]) -> None:
    plays[guide].result()


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_a_guide_that_names_its_hub_by_address_starts_it_under_that_name(guide: Path) -> None:
    """Played, every hub has its address as its name, and a person's is `localhost` unless the guide says otherwise."""
    text = guide.read_text()
    if re.search(r"(?:--hub |linked-hub \w+ |^)127\.0\.0\.1\b", text, re.MULTILINE):
        assert "--hostname 127.0.0.1" in text


def test_a_guide_that_is_wrong_is_noticed(tmp_path: Path) -> None:
    def told(text: str) -> None:
        play(blocks_of(text), tmp_path, dict(os.environ), "127.0.0.2")

    right = "```sh\nfalse   # exit code 1\necho 127.0.0.1 and 2026-01-02T03:04:05Z\n```\n\n```text\n... and {}\n```\n"
    told(right.format("2025-12-31T00:00:00.123Z"))
    told("`a.txt`:\n\n```json\n{}\n```\n\n1. Then:\n\n   ```sh\n   cat a.txt\n   ```\n\n   ```text\n   {}\n   ```\n")
    for wrong in (
        right.format("yesterday"),
        right.replace("exit code 1", "exit code 2"),
        "```sh\nfalse\n```\n",
        "```sh\nfalse | true\n```\n",
        "```sh\necho a b c\n```\n\n```text\na\n...\n```\n",
    ):
        with pytest.raises(AssertionError):
            told(wrong)


def test_lines_may_be_left_out_only_where_the_guide_says_so() -> None:
    assert looks_like("a\nb\nc\n", "a\n...\nc")
    assert looks_like("a\nc\n", "a\n...\nc")
    assert not looks_like("a\nb\nc\n", "a\nc")
    assert not looks_like("a\nb\nc\nd\n", "a\n...\nc")
