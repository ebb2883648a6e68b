"""Every command that the code tells somebody to run exists, and takes what it is said to take.

The texts are read from the source: whatever is passed as `fix` and every other string that speaks of a `moorage`
command. A value that is put in at run time stands for one word. Each command is parsed by the command line itself, in
a folder where every word of it is a file.
"""

from __future__ import annotations

import ast
import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from moorage.cli.commands import Invocation
from moorage.cli.root import COMMANDS, root
from moorage.errors import Unauthenticated
from moorage.identities import explanations
from moorage.identities.credentials import Presented
from moorage.identities.model import Authentication, ByThumbprint, Identity
from moorage.identities.registry import Fresh, IdentityDraft, decide_create
from moorage.ids import DEFAULT_HUB, DeviceId, IdentityName, ModuleId, Thumbprint
from tests import certs
from tests.docs.test_docs import find

SOURCE = Path(explanations.__file__).resolve().parents[1]
VALUE = "\0"
_COMMAND = re.compile(r"\bmoorage ([a-z](?:[^,;)'\"`]|(?<= )'[^']*')*)")
# What `explanations.update_command` puts before the options that it is given.
_UPDATE = f"moorage device update {VALUE} "


def text_of(node: ast.expr, constants: dict[str, ast.expr]) -> Iterator[str]:
    """The strings that an expression can give."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=parts):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else VALUE for part in parts)
        case ast.IfExp(body=body, orelse=orelse):
            yield from text_of(body, constants)
            yield from text_of(orelse, constants)
        case ast.BoolOp(values=values):
            for value in values:
                yield from text_of(value, constants)
        case ast.BinOp(left=left):
            yield from text_of(left, constants)
        case ast.Name(id=name) if name in constants:
            yield from text_of(constants[name], {})


def spoken(source: str) -> Iterator[tuple[bool, str]]:
    """(whether it is a fix, text) of every string in a module that is no docstring."""
    tree = ast.parse(source)
    constants = {
        target.id: statement.value
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    prose = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    inside = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "fix":
            yield from ((True, text) for text in text_of(node.value, constants))
        elif isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "fix" for target in node.targets):
            yield from ((True, text) for text in text_of(node.value, constants))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("update_command"):
            yield from ((True, _UPDATE + options) for options in text_of(node.args[1], constants))
        elif isinstance(node, ast.Constant | ast.JoinedStr) and node not in prose and node not in inside:
            yield from ((False, text) for text in text_of(node, constants))


def commands_in(text: str, *, is_fix: bool) -> Iterator[str]:
    for match in _COMMAND.finditer(text):
        # Prose may say "moorage is ready"; what somebody is told to run names a command.
        if match[1].split()[0] in COMMANDS or (is_fix and (match.start() == 0 or text[match.start() - 2] == ":")):
            yield match[1].strip()


def spellings(command: click.Command, word: str) -> list[str]:
    """The words that a word with values in it can be."""
    if VALUE not in word:
        return [word]
    if word.startswith("--"):
        options = re.compile(re.escape(word).replace(re.escape(VALUE), ".+"))
        found = [name for each in command.params for name in each.opts if options.fullmatch(name)]
        if not found:
            raise click.NoSuchOption(word.replace(VALUE, "..."))
        return found
    # A value that follows a word at once is more of the command, or nothing.
    return [word.replace(VALUE, "X") if word[0] == VALUE else word.split(VALUE)[0]]


def check_command(line: str, folder: Path) -> None:
    """Raises `click.UsageError` when the command line does not take `line` (what follows `moorage`)."""
    command, rest = find(shlex.split(line))
    if isinstance(command, click.Group):
        if command is root or rest:
            raise click.UsageError(f"no command {rest[0]}")
        return
    # Two values side by side stand for options that may be there; who builds them is checked where they are built.
    rest = [word for word in rest if word.strip(VALUE) or len(word) < 2]
    types = [argument.type for argument in command.params if isinstance(argument, click.Argument)]
    takes_folder = any(isinstance(each, click.Path) and not each.file_okay for each in types)
    for words in itertools.product(*(spellings(command, word) for word in rest)):
        for before, word in itertools.pairwise(("", *words)):
            if re.fullmatch(r"[\w.-]+", word) and before != "--data":
                (folder / word).mkdir(exist_ok=True) if takes_folder else (folder / word).touch()
        command.make_context(line.split()[0], list(words), obj=Invocation())


def all_commands() -> list[tuple[str, str]]:
    found = {
        (command, str(path.relative_to(SOURCE)))
        for path in sorted(SOURCE.rglob("*.py"))
        for is_fix, text in spoken(path.read_text())
        for command in commands_in(text, is_fix=is_fix)
    }
    return sorted(found)


@pytest.mark.parametrize(
    ("line", "where"), all_commands(), ids=lambda value: value.replace(VALUE, "_") if isinstance(value, str) else None
)
def test_a_command_that_is_told_can_be_run(
    line: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        check_command(line, tmp_path)
    except click.UsageError as error:
        pytest.fail(f"{where} tells to run 'moorage {line.replace(VALUE, '...')}': {error.format_message()}")


def test_enough_commands_are_told_of_and_a_wrong_one_would_be_noticed(tmp_path: Path) -> None:
    assert len(all_commands()) > 40
    code = 'raise NotFound("a.b", f"no {x}", fix=f"see moorage.toml, or: moorage devise create {x}")'
    assert [line for is_fix, text in spoken(code) for line in commands_in(text, is_fix=is_fix)] == ["devise create \0"]
    for wrong in (
        "devise create X",
        "device destroy X",
        "device create",
        "device create X Y",
        "device create X --auth x509",
        "device create X --thumbprint Y",
        "device create X --auth",
        f"up --{VALUE}-gate 0",
    ):
        with pytest.raises(click.UsageError):
            check_command(wrong, tmp_path)


def identity(name: IdentityName, authentication: Authentication) -> Identity:
    return decide_create(DEFAULT_HUB, IdentityDraft(name, authentication), Fresh.draw(certs.NOW), certs.NOW)


NAMES = [IdentityName(DeviceId("a$(b)")), IdentityName(DeviceId("pump-01"), ModuleId("m1"))]


@pytest.mark.parametrize("name", NAMES, ids=str)
def test_what_a_refused_device_needs_is_one_command_however_it_is_named(
    name: IdentityName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stranger, leaf = certs.self_signed("pump-01").sends(), certs.device(certs.root(), "pump-01").sends()
    own = certs.device(certs.root(), str(name))
    pinned = ByThumbprint(Thumbprint("AB" * 20), None)
    refusals: list[Unauthenticated] = [
        *(
            explanations.unknown(DEFAULT_HUB, name, Presented(chain, None, "127.0.0.1:1"), lambda _: False)
            for chain in (None, stranger, leaf)
        ),
        explanations.wrong_thumbprint(identity(name, pinned), pinned, own.sends()),
        explanations.mismatch(name, own.certificate, "pump-1", lambda _: False),
    ]
    for refusal in refusals:
        words = shlex.split(refusal.fix)
        assert words[0] == "moorage", refusal.fix
        check_command(shlex.join(words[1:]), tmp_path)
        assert name.device_id in words or str(name) in words
