"""What the documents say is so: commands, targets, links, settings, dependencies."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from moorage.cli.root import root

HERE = Path(__file__).resolve().parents[2]
PAGES = sorted([*HERE.glob("*.md"), *HERE.glob("docs/**/*.md")])
GUIDES = [page for page in PAGES if page.parent.name not in ("reference", "adr")]
_ANYWHERE = re.compile(r"`(moorage [^`]+)`")


def spoken_commands(page: Path) -> Iterator[str]:
    """Every `moorage ...` line of a page: in its shell blocks, and between backquotes."""
    text = page.read_text()
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            line = re.sub(r'^eval "\$\((.*)\)"$', r"\1", line.strip())
            if line.startswith("moorage "):
                yield line.removesuffix("&").strip()
    yield from _ANYWHERE.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def find(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that `words` names, and the words left."""
    command: click.Command = root
    while isinstance(command, click.Group) and words:
        found = command.get_command(click.Context(command), words[0])
        if found is None:
            break
        command, words = found, words[1:]
    return command, words


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: str(page.relative_to(HERE)))
def test_every_command_spoken_of_exists_with_its_options(page: Path) -> None:
    for line in spoken_commands(page):
        words = shlex.split(line)[1:]
        if words[0].isupper():
            continue
        command, rest = find(words)
        assert command is not root, f"{page.name}: {line}"
        params = command.params
        names = {name for each in params for name in (*each.opts, *each.secondary_opts)} | {"--help"}
        for word in rest:
            if word.startswith("--"):
                assert word.partition("=")[0] in names, f"{page.name}: {line}: no option {word}"
        if isinstance(command, click.Group):
            assert not rest, f"{page.name}: {line}: no command {rest[0]}"


def test_the_guides_speak_of_commands_at_all() -> None:
    assert len([line for page in GUIDES for line in spoken_commands(page)]) > 30


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: str(page.relative_to(HERE)))
def test_every_make_target_spoken_of_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (HERE / "Makefile").read_text(), re.MULTILINE))
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE):
        assert target in targets, f"{page.name} speaks of make {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HERE)))
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not link.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_the_reference_pages_are_current() -> None:
    run = subprocess.run(
        [sys.executable, "scripts/reference.py", "--check"], cwd=HERE, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_every_dependency_says_what_it_saves() -> None:
    project = tomllib.loads((HERE / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    page = (HERE / "docs" / "dependencies.md").read_text()
    for requirement in [*project["project"]["dependencies"], *groups["dev"], *groups["fuzz"], *groups["sdk"]]:
        name = re.split(r"[<>=~]", requirement)[0]
        assert re.search(rf"^\|[^|]*\b{re.escape(name)}\b[^|]*\|", page, re.MULTILINE), (
            f"{name} is not in dependencies.md"
        )


def test_no_registry_is_named_anywhere() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=HERE, capture_output=True, text=True, check=False).stdout
    registries = re.compile("|".join(["pypi" + r"\.org", "pythonhosted" + r"\.org", "npmjs" + r"\.(?:org|com)"]))
    for name in filter(None, tracked.split("\0")):
        path = HERE / name
        if path.is_file():
            assert not registries.search(path.read_text("utf-8", "replace")), f"{name} names a package registry"
