"""The forms of a page as a browser reads them: what is in their fields, and what is said of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import unquote

__all__ = ["Control", "SentForm", "forms_of", "said_at"]

_VOID = frozenset(("input", "br", "hr", "img", "meta", "link", "source", "wbr", "area", "col", "base", "rect", "use"))
_NO_TEXT = frozenset(("hidden", "submit", "button"))


@dataclass
class Control:
    """One field. `text` is what it holds: of a box its value where it is ticked, '' where it is not."""

    tag: str
    name: str
    attributes: dict[str, str]
    text: str = ""
    # Whether every <details> around it is open.
    is_shown: bool = True

    @property
    def kind(self) -> str:
        return self.attributes.get("type", "text") if self.tag == "input" else self.tag

    @property
    def is_typed(self) -> bool:
        return self.kind not in _NO_TEXT and "disabled" not in self.attributes


@dataclass
class SentForm:
    """`action` as it is read: without what is asked for behind `?`."""

    method: str
    action: str
    controls: list[Control] = field(default_factory=list)

    @property
    def typed(self) -> list[Control]:
        return [control for control in self.controls if control.is_typed]

    def fields(self) -> list[tuple[str, str]]:
        """What is sent when its first button is pressed."""
        sent = []
        for control in self.controls:
            is_box = control.kind in ("checkbox", "radio")
            if control.name and control.kind not in ("file", "submit", "button") and (control.text or not is_box):
                sent.append((control.name, control.text))
        return sent

    def find(self, name: str) -> list[Control]:
        return [control for control in self.controls if control.name == name and control.kind != "hidden"]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.forms: list[SentForm] = []
        self.words: dict[str, str] = {}
        self._form: SentForm | None = None
        self._control: Control | None = None
        self._option: str | None = None
        self._open: list[tuple[str, str]] = []
        self._details: list[bool] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag not in _VOID:
            self._open.append((tag, attributes.get("id", "")))
        if tag == "details":
            self._details.append("open" in attributes)
        elif tag == "form":
            action = unquote(attributes.get("action", "").partition("?")[0])
            self._form = SentForm(attributes.get("method", "get").lower(), action)
            self.forms.append(self._form)
        elif tag == "option" and self._control is not None:
            self._option = attributes.get("value")
            if "selected" in attributes or "first" not in self._control.attributes:
                self._control.text = attributes.get("value", "")
            self._control.attributes.setdefault("first", "")
        elif tag in ("input", "select", "textarea") and self._form is not None:
            control = Control(tag, attributes.get("name", ""), attributes, is_shown=all(self._details))
            if tag == "input":
                is_box = control.kind in ("checkbox", "radio")
                value = attributes.get("value", "on" if is_box else "")
                control.text = value if not is_box or "checked" in attributes else ""
            else:
                self._control = control
            self._form.controls.append(control)

    def handle_endtag(self, tag: str) -> None:
        while self._open and tag in [name for name, _ in self._open]:
            if self._open.pop()[0] == tag:
                break
        if tag == "details" and self._details:
            self._details.pop()
        elif tag == "form":
            self._form = None
        elif tag in ("select", "textarea"):
            self._control = None

    def handle_data(self, data: str) -> None:
        for _, identity in self._open:
            if identity:
                self.words[identity] = self.words.get(identity, "") + data
        if self._control is not None and self._control.tag == "textarea":
            # The first line end of a text belongs to its tag.
            self._control.text += data if self._control.text else data.removeprefix("\n")


def forms_of(page: str) -> list[SentForm]:
    """Those that are posted."""
    reader = _Reader()
    reader.feed(page)
    return [form for form in reader.forms if form.method == "post"]


def said_at(page: str, identity: str) -> str:
    """The words of the element of that id, with single spaces; '' where there is none."""
    reader = _Reader()
    reader.feed(page)
    return " ".join(reader.words.get(identity, "").split())
