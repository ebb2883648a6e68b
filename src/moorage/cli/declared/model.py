"""One declared thing, the members it may have, and what a kind of thing can do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from moorage.cli.hub_client import HubClient
from moorage.errors import Invalid

__all__ = [
    "Declared",
    "Kind",
    "Member",
    "Spec",
    "bad",
    "certificate",
    "choice",
    "flag",
    "key",
    "table",
    "text",
    "texts",
]

# Members in the words of the files; certificates as PEM, keys as base64.
Spec = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Declared:
    """One thing as a file wants it. `place` is for sentences: `hub.toml: device.pump-01`."""

    kind: str
    name: str
    spec: Spec
    place: str


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a kind. `read` takes what the file holds and the file's folder; raises ValueError with a phrase.

    `default` is what a thing has that does not say. Of one that `merges`, only the members named are compared and
    written; the rest stays. An `input` is needed to make a change and cannot be read back.
    """

    read: Callable[[Any, Path], Any]
    default: Any = None
    merges: bool = False
    is_secret: bool = False
    is_input: bool = False


class Kind(Protocol):
    """What can be declared. The four calls to a hub raise `Refusal`."""

    members: ClassVar[Mapping[str, Member]]

    def settle(self, declared: Declared) -> Spec:
        """The spec with its members checked against each other. Raises `Invalid` (`declared.member`)."""

    def find(self, hub: HubClient, declared: Declared) -> Spec | None:
        """What the hub holds under that name, None when nothing."""

    def all(self, hub: HubClient, *, with_keys: bool) -> Iterator[tuple[str, Spec]]:
        """Everything the hub holds, for export: defaults and inputs left out."""

    def create(self, hub: HubClient, declared: Declared) -> None: ...

    def update(self, hub: HubClient, declared: Declared) -> None:
        """Give the thing that is there what is declared; what is not said stays."""


def bad(declared: Declared, problem: str) -> Invalid:
    return Invalid("declared.member", f"{declared.place}: {problem}")


def text(value: Any, folder: Path) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("has to be a text")
    return value


def texts(value: Any, folder: Path) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise ValueError("has to be a list of texts")
    return value


def flag(value: Any, folder: Path) -> bool:
    if not isinstance(value, bool):
        raise ValueError("has to be true or false")
    return value


def table(value: Any, folder: Path) -> dict[str, Any]:
    """What JSON can hold too: both formats know dates, and twins do not."""
    if not isinstance(value, dict):
        raise ValueError("has to be a table of members")
    _check_json(value, "")
    return value


def _check_json(value: Any, path: str) -> None:
    if isinstance(value, dict):
        for name, member in value.items():
            if not isinstance(name, str):
                raise ValueError(f"has the name {name!r}{path and ' in ' + path}, which is no text; quote it")
            _check_json(member, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _check_json(item, f"{path}[{number}]")
    elif value is not None and not isinstance(value, str | int | float):
        raise ValueError(f"has a {type(value).__name__} at {path}, which JSON does not know; quote it")


def choice(*options: str) -> Callable[[Any, Path], str]:
    def read(value: Any, folder: Path) -> str:
        if value not in options:
            raise ValueError(f"has to be one of {', '.join(options)}")
        return str(value)

    return read


def key(value: Any, folder: Path) -> str:
    """A shared access key; never repeated in an error."""
    from moorage.identities.policies import check_key
    from moorage.ids import Secret

    if not isinstance(value, str):
        raise ValueError("has to be a key in base64")
    try:
        return check_key(Secret(value)).reveal()
    except Invalid as refusal:
        raise ValueError(f"is no key: {refusal.message}") from None


def certificate(value: Any, folder: Path) -> str:
    """The first certificate of a file, or of the text itself when it is PEM; as PEM."""
    from moorage.cli.certificate_files import read_certificate
    from moorage.pki.inputs import parse_certificate

    if not isinstance(value, str):
        raise ValueError("has to be a file with a certificate, or the certificate in PEM")
    if "-----BEGIN" in value:
        try:
            return parse_certificate(value).pem
        except Invalid as refusal:
            raise ValueError(refusal.message) from None
    try:
        return read_certificate(folder / value).pem
    except Invalid as refusal:
        raise ValueError(refusal.message) from None
    except OSError as error:
        raise ValueError(f"{folder / value} cannot be read: {error.strerror}") from None
