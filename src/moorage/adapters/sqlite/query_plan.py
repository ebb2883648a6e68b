"""A condition as SQL: which rows may satisfy it, and which index finds them.

`cover` turns an expression into a WHERE that is true for every row for which the expression has the value asked for,
and perhaps for others; where it is true for no others, it says that it `is_exact`. What it does not know covers all
rows. The evaluator has the last word on every row (decisions S10), so a cover may be wide; that none is too narrow is
tested with generated documents and expressions.

NOT asks its operand for false, and a comparison is false where the opposite one is true: both need two values of one
type, and otherwise it is undefined.

`drivers` are the ways into the data: a SELECT of names from an index, of which the plan takes the one with the fewest.

    deviceId = IN < STARTS_WITH     the primary key           tags.*                          the index of terms
    moduleId = IN                   ix_identities_modules     modelId =                       ix_twins_model
    status =                        ix_identities_devices     capabilities.iotEdge = true     ix_identities_edge
    configurations.*.status         its own index             x509Thumbprint.*, deviceScope   their own

In the SQL `i` is the identity and `t` its twin; documents are JSON text. SQLite's JSON functions have three habits that
a cover must allow for: strings end at NUL, doubles may differ from Python's in the last digit, and the names in a path
are compared as they are escaped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from moorage.adapters.sqlite.terms import MAX_TEXT, path_of, term_of, text_term
from moorage.hub.model import TwinRows
from moorage.ids import HubId
from moorage.query.syntax import (
    ArrayOf,
    Call,
    Comparison,
    Constant,
    Expression,
    Logical,
    Membership,
    Not,
    Path,
    walk,
)

__all__ = ["ALL", "Cover", "Driver", "asks_if_connected", "cover", "drivers", "without_connected"]

Operator = Literal["=", "!=", "<", "<=", ">", ">="]

_OPPOSITE: Final[dict[Operator, Operator]] = {"=": "!=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_FLIPPED: Final[dict[Operator, Operator]] = {"=": "=", "!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}
# SQLite takes compound SELECTs of 500; whoever writes more alternatives than this is served by a scan.
_MAX_UNION: Final = 100
# Relative difference between two readings of one number that is certainly enough.
_SLACK: Final = 1e-9
_LEAST_SLACK: Final = 1e-300
_EQUAL: Final = "x.term = ?"
_KIND: Final[dict[TwinRows, str]] = {"devices": "x.module_id = ''", "devices.modules": "x.module_id != ''"}
# Names that SQLite finds in a path whatever its version: they look the same in JSON and beside it.
_PLAIN_NAME: Final = re.compile(r"[ !#-\[\]-~]+")
_WIRE_AUTHENTICATION: Final = (
    "CASE i.authentication WHEN 'thumbprint' THEN 'selfSigned' WHEN 'authority' THEN 'certificateAuthority' "
    "WHEN 'sas' THEN 'sas' ELSE 'none' END"
)
_TERM_TYPES: Final = {"IS_ARRAY": "a", "IS_BOOL": "b", "IS_NUMBER": "n", "IS_OBJECT": "o", "IS_STRING": "s"}
_JSON_TYPES: Final = {
    "IS_ARRAY": ("array",),
    "IS_BOOL": ("true", "false"),
    "IS_NUMBER": ("integer", "real"),
    "IS_OBJECT": ("object",),
    "IS_STRING": ("text",),
    "IS_NULL": ("null",),
}


@dataclass(frozen=True, slots=True)
class Cover:
    """True for the rows that are looked for. Any row may be one of them where `sql` is '1' and not `is_exact`.

    One that `collects` reads a whole range of an index before it looks at the first row.
    """

    sql: str
    parameters: tuple[Any, ...] = ()
    is_exact: bool = False
    collects: bool = False

    @property
    def needs_twin(self) -> bool:
        return "t." in self.sql


ALL: Final = Cover("1")
_NONE: Final = Cover("0", is_exact=True)


@dataclass(frozen=True, slots=True)
class Driver:
    """A SELECT of `x.device_id, x.module_id` from an index, to which `AND ...` can be added.

    `is_ordered` when the index gives the names in their order, so that a few of many cost little; `is_exact` when they
    are those that the expression it was made for selects, and no others.
    """

    sql: str
    parameters: tuple[Any, ...]
    is_ordered: bool
    is_exact: bool


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the values of a path are: how a comparison with a constant, and a test of their type, read in SQL."""

    compare: Callable[[Operator, Any], Cover]
    among: Callable[[tuple[Any, ...], bool], Cover]
    test: Callable[[str], Cover]
    starts_with: Callable[[str], Cover]


def without_connected(expression: Expression) -> tuple[Expression, ...] | None:
    """What is left to satisfy for identities that are connected, where the expression asks for those in one place."""
    match expression:
        case Comparison("=", Path(("connectionState",)), Constant("Connected")):
            return ()
        case Logical("AND", operands):
            left = tuple(operand for operand in operands if without_connected(operand) != ())
            is_left_about_it = any(
                isinstance(node, Path) and node.names[0] == "connectionState" for each in left for node in walk(each)
            )
            return None if len(left) == len(operands) or is_left_about_it else left
    return None


def asks_if_connected(expression: Expression, *, value: bool = True) -> bool:
    """Whether the expression can have that value for identities alone that are connected."""
    match expression:
        case Not(operand):
            return asks_if_connected(operand, value=not value)
        case Logical(operator, operands):
            some = all if (operator == "OR") == value else any
            return some(asks_if_connected(operand, value=value) for operand in operands)
        case Comparison(operator, Path(("connectionState",)), Constant("Connected")):
            return operator == ("=" if value else "!=")
        case Membership(Path(("connectionState",)), ArrayOf((Constant("Connected"),)), is_negated):
            return is_negated is not value
    return False


# -- covers ------------------------------------------------------------------------------------------------------------


def cover(expression: Expression, hub: HubId, rows: TwinRows, *, for_count: bool = False) -> Cover:
    """The rows that `expression` selects.

    With `for_count` it is exact wherever an index makes it so, though that costs more for a few rows.
    """
    return _Covering(hub, rows, for_count).cover(expression, True)


class _Covering:
    def __init__(self, hub: HubId, rows: TwinRows, for_count: bool) -> None:
        self._hub = hub
        self._rows: TwinRows = rows
        self._for_count = for_count

    def cover(self, expression: Expression, value: bool) -> Cover:
        match expression:
            case Constant(constant):
                return Cover("1", is_exact=True) if constant is value else _NONE
            case Not(operand):
                return self.cover(operand, not value)
            case Logical(operator, operands):
                covers = [self.cover(operand, value) for operand in operands]
                return _joined(covers, "AND" if (operator == "AND") == value else "OR")
            case Comparison(sign, Path() as path, Constant(constant)):
                return self._place(path).compare(sign if value else _OPPOSITE[sign], constant)
            case Comparison(sign, Constant(constant), Path() as path):
                flipped = _FLIPPED[sign]
                return self._place(path).compare(flipped if value else _OPPOSITE[flipped], constant)
            case Membership(Path() as path, ArrayOf(items), is_negated):
                constants = _constants(items)
                return ALL if constants is None else self._place(path).among(constants, is_negated is not value)
            case Path():
                # A member that is a boolean, by itself.
                return self._place(expression).compare("=", value)
            case Call(name, arguments):
                return self._call(name, arguments, value)
        return ALL

    def _call(self, name: str, arguments: tuple[Expression, ...], value: bool) -> Cover:
        match name, arguments:
            case "STARTS_WITH", (Path() as path, Constant(str() as beginning)) if value:
                return self._place(path).starts_with(beginning)
            case (("IS_DEFINED" | "IS_ARRAY" | "IS_BOOL" | "IS_NUMBER" | "IS_OBJECT" | "IS_STRING"), (Path() as path,)):
                tested = self._place(path).test(name)
                if value:
                    return tested
                # These are never undefined, so they are false wherever they are not true.
                return replace(tested, sql=f"({tested.sql}) IS NOT 1") if tested.is_exact else ALL
            case "ARRAY_CONTAINS", (Path(("parentScopes",)), Constant(str() as scope)) if value:
                if self._rows != "devices":
                    return _NONE
                return Cover("EXISTS (SELECT 1 FROM json_each(i.parent_scopes) WHERE value = ?)", (scope,))
        return ALL

    def _place(self, path: Path) -> _Place:
        is_device = self._rows == "devices"
        match path.names:
            case ("deviceId",):
                return _text_column("i.device_id")
            case ("moduleId",):
                return _NOWHERE if is_device else _text_column("i.module_id")
            case ("status",):
                return _text_column("i.status")
            case ("authenticationType",):
                return _text_column(_WIRE_AUTHENTICATION)
            case ("modelId",):
                return _text_column("coalesce(t.model_id, '')")
            case ("deviceScope",):
                return _text_column("i.device_scope") if is_device else _NOWHERE
            case ("capabilities", "iotEdge"):
                return _boolean_column("i.is_edge") if is_device else _NOWHERE
            case ("x509Thumbprint", "primaryThumbprint"):
                return _text_column("i.primary_thumbprint", null=True)
            case ("x509Thumbprint", "secondaryThumbprint"):
                return _text_column("i.secondary_thumbprint", null=True)
            case ("statusReason",):
                return _text_column("i.status_reason", null=True)
            case ("properties", "desired" | "reported" as section, "$version"):
                return _number_column(f"coalesce(t.{section}_version, 1)")
            case ("properties", "desired" | "reported" as section, *names) if _are_plain(names):
                return _json(f"t.{section}", names)
            case ("tags", *names) if names:
                return self._tag(tuple(names))
            case ("configurations", configuration, "status"):
                return _configuration(configuration)
        return _ANYWHERE

    def _tag(self, names: tuple[str, ...]) -> _Place:
        path = path_of(names)
        if path is None:
            return _json("t.tags", names) if _are_plain(names) else _ANYWHERE
        term = _term(self._hub, self._rows, path)
        if self._for_count or not _are_plain(names):
            return term
        # A few rows are sooner looked at in their own JSON than collected from an index; equality is one look into it.
        json = _json("t.tags", names)
        return _Place(
            lambda operator, constant: (term if operator == "=" else json).compare(operator, constant),
            json.among,
            json.test,
            json.starts_with,
        )


def _constants(items: tuple[Expression, ...]) -> tuple[Any, ...] | None:
    """Their values, if all of them are constants."""
    constants = tuple(item.value for item in items if isinstance(item, Constant))
    return constants if len(constants) == len(items) else None


def _joined(covers: Sequence[Cover], operator: Literal["AND", "OR"]) -> Cover:
    """In pairs of pairs: SQLite bounds how deep an expression is, not how long."""
    if len(covers) == 1:
        return covers[0]
    middle = len(covers) // 2
    left, right = _joined(covers[:middle], operator), _joined(covers[middle:], operator)
    sure, other = ("0", "1") if operator == "AND" else ("1", "0")
    for one, another in ((left, right), (right, left)):
        if one.sql == sure and (one.is_exact or operator == "OR"):
            return one
        if one.sql == other and one.is_exact:
            return another
    if operator == "AND" and "1" in (left.sql, right.sql):
        kept = right if left.sql == "1" else left
        return replace(kept, is_exact=False)
    return Cover(
        f"({left.sql} {operator} {right.sql})",
        left.parameters + right.parameters,
        left.is_exact and right.is_exact,
        left.collects or right.collects,
    )


def _are_plain(names: Iterable[str]) -> bool:
    return all(map(_PLAIN_NAME.fullmatch, names))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# -- places ------------------------------------------------------------------------------------------------------------

_ANYWHERE: Final = _Place(lambda *_: ALL, lambda *_: ALL, lambda *_: ALL, lambda *_: ALL)
_NOWHERE: Final = _Place(lambda *_: _NONE, lambda *_: _NONE, lambda *_: _NONE, lambda *_: _NONE)


def _text_column(column: str, *, null: bool = False) -> _Place:
    """A column that is a string; where it may be NULL, that is null if `null`, and else undefined."""

    def compare(operator: Operator, constant: Any) -> Cover:
        if isinstance(constant, str):
            return Cover(f"{column} {operator} ?", (constant,), True)
        if constant is None and null:
            return Cover(f"{column} IS NULL", (), True) if operator in ("=", "<=", ">=") else _NONE
        return _NONE

    def among(constants: tuple[Any, ...], is_in: bool) -> Cover:
        texts = tuple(each for each in constants if isinstance(each, str))
        listed = f"IN ({', '.join('?' * len(texts))})"
        # NULL NOT IN () is true.
        found = f"{column} {listed}" if is_in else f"({column} IS NOT NULL AND {column} NOT {listed})"
        if null and (None in constants) is is_in:
            found = f"({found} OR {column} IS NULL)"
        return Cover(found, texts, True)

    def test(name: str) -> Cover:
        if name == "IS_DEFINED":
            return Cover("1" if null else f"{column} IS NOT NULL", (), True)
        return Cover(f"{column} IS NOT NULL", (), True) if name == "IS_STRING" else _NONE

    def starts_with(beginning: str) -> Cover:
        least, behind = _range(beginning)
        if behind is None:
            return Cover(f"{column} >= ?", (least,))
        return Cover(f"({column} >= ? AND {column} < ?)", (least, behind), True)

    return _Place(compare, among, test, starts_with)


def _boolean_column(column: str) -> _Place:
    def compare(operator: Operator, constant: Any) -> Cover:
        return Cover(f"{column} {operator} ?", (int(constant),), True) if isinstance(constant, bool) else _NONE

    def among(constants: tuple[Any, ...], is_in: bool) -> Cover:
        found = tuple(int(each) for each in constants if isinstance(each, bool))
        return Cover(f"{column} {'' if is_in else 'NOT '}IN ({', '.join('?' * len(found))})", found, True)

    def test(name: str) -> Cover:
        return Cover("1", is_exact=True) if name in ("IS_DEFINED", "IS_BOOL") else _NONE

    return _Place(compare, among, test, lambda beginning: _NONE)


def _number_column(column: str) -> _Place:
    """A column that holds whole numbers."""

    def compare(operator: Operator, constant: Any) -> Cover:
        return Cover(f"{column} {operator} ?", (constant,), True) if _is_number(constant) else _NONE

    def among(constants: tuple[Any, ...], is_in: bool) -> Cover:
        found = tuple(filter(_is_number, constants))
        return Cover(f"{column} {'' if is_in else 'NOT '}IN ({', '.join('?' * len(found))})", found, True)

    def test(name: str) -> Cover:
        return Cover("1", is_exact=True) if name in ("IS_DEFINED", "IS_NUMBER") else _NONE

    return _Place(compare, among, test, lambda beginning: _NONE)


def _configuration(configuration: str) -> _Place:
    """The status that an identity has of one configuration."""

    def having(status: Cover) -> Cover:
        return (
            status
            if status is _NONE
            else Cover(
                "EXISTS (SELECT 1 FROM twin_configurations AS c WHERE c.hub_id = i.hub_id AND c.device_id = i.device_id"
                f" AND c.module_id = i.module_id AND c.configuration_id = ? AND {status.sql})",
                (configuration, *status.parameters),
                status.is_exact,
            )
        )

    place = _text_column("c.status")
    return _Place(
        lambda operator, constant: having(place.compare(operator, constant)),
        lambda constants, is_in: having(place.among(constants, is_in)),
        lambda name: having(place.test(name)),
        lambda beginning: having(place.starts_with(beginning)),
    )


def _json(document: str, names: Sequence[str]) -> _Place:
    """A member of a document of the twin. `names` are plain."""
    where = "$" + "".join(f'."{name}"' for name in names)
    value, kind = f"json_extract({document}, ?)", f"json_type({document}, ?)"

    def of_type(*types: str, is_exact: bool = False) -> Cover:
        return Cover(f"{kind} IN ({', '.join('?' * len(types))})", (where, *types), is_exact)

    def compare(operator: Operator, constant: Any) -> Cover:
        if isinstance(constant, bool):
            if operator in ("=", "!="):
                return of_type(str(constant is (operator == "=")).lower(), is_exact=True)
            return of_type("true", "false")
        if isinstance(constant, str):
            if operator == "!=":
                return of_type("text")
            if "\x00" in constant:
                return of_type("text")
            # What is cut off at NUL is less than the whole.
            return Cover(f"{value} {'>=' if operator == '>' else operator} ?", (where, constant))
        if constant is None:
            return of_type("null", is_exact=True) if operator in ("=", "<=", ">=") else _NONE
        if not _is_number(constant):
            return _NONE
        if operator == "!=":
            return of_type("integer", "real")
        slack = max(abs(constant) * _SLACK, _LEAST_SLACK)
        # Every text is greater than every number in SQLite, infinity included.
        least = -math.inf if operator in ("<", "<=") else constant - slack
        most = math.inf if operator in (">", ">=") else constant + slack
        return Cover(f"{value} BETWEEN ? AND ?", (where, least, most))

    def among(constants: tuple[Any, ...], is_in: bool) -> Cover:
        if not is_in:
            return of_type("text", "integer", "real", "true", "false", "null")
        covers = [compare("=", constant) for constant in constants]
        texts = [each for each in constants if isinstance(each, str) and "\x00" not in each]
        if len(texts) == len(constants) and texts:
            return Cover(f"{value} IN ({', '.join('?' * len(texts))})", (where, *texts))
        return _joined(covers, "OR") if covers else _NONE

    def test(name: str) -> Cover:
        if name == "IS_DEFINED":
            return Cover(f"{kind} IS NOT NULL", (where,), True)
        return of_type(*_JSON_TYPES[name], is_exact=True)

    def starts_with(beginning: str) -> Cover:
        if "\x00" in beginning:
            return of_type("text")
        return Cover(f"substr({value}, 1, ?) = ?", (where, len(beginning), beginning))

    return _Place(compare, among, test, starts_with)


def _term(hub: HubId, rows: TwinRows, path: str) -> _Place:
    """A tag, by the index of terms."""

    def having(condition: str, parameters: tuple[Any, ...], is_exact: bool) -> Cover:
        if condition == _EQUAL:
            # One look into the index for each row.
            return Cover(
                "EXISTS (SELECT 1 FROM tag_terms AS x WHERE x.hub_id = i.hub_id AND x.path = ? AND x.term = ?"
                " AND x.device_id = i.device_id AND x.module_id = i.module_id)",
                (path, *parameters),
                is_exact,
            )
        # Collected once for the whole statement.
        name, found = (
            ("i.device_id", "x.device_id")
            if rows == "devices"
            else ("(i.device_id, i.module_id)", "x.device_id, x.module_id")
        )
        return Cover(
            f"{name} IN (SELECT {found} FROM tag_terms AS x WHERE x.hub_id = ? AND x.path = ? AND {condition}"
            f" AND {_KIND[rows]})",
            (hub, path, *parameters),
            is_exact,
            collects=True,
        )

    return _term_place(having)


def _term_place(having: Callable[[str, tuple[Any, ...], bool], Cover]) -> _Place:
    """What to ask of the terms of one path; `having` makes it a cover. No tag is null (services.md T-7)."""

    def compare(operator: Operator, constant: Any) -> Cover:
        term = term_of(constant) if isinstance(constant, (str, bool, int, float)) else None
        if term is None:
            return _NONE
        kind, behind, is_exact = term[0], chr(ord(term[0]) + 1), not _is_cut(constant)
        match operator:
            case "=":
                return having(_EQUAL, (term,), is_exact)
            case "!=" if is_exact:
                return having("x.term >= ? AND x.term < ? AND x.term != ?", (kind, behind, term), True)
            case "!=":
                return having("x.term >= ? AND x.term < ?", (kind, behind), False)
            case "<" if is_exact:
                return having("x.term >= ? AND x.term < ?", (kind, term), True)
            case "<" | "<=":
                return having("x.term >= ? AND x.term <= ?", (kind, term), is_exact)
            case ">" if is_exact:
                return having("x.term > ? AND x.term < ?", (term, behind), True)
            case _:
                return having("x.term >= ? AND x.term < ?", (term, behind), is_exact)

    def among(constants: tuple[Any, ...], is_in: bool) -> Cover:
        terms = tuple(
            term for each in constants if isinstance(each, (str, bool, int, float)) and (term := term_of(each))
        )
        is_exact = not any(map(_is_cut, constants))
        marks = ", ".join("?" * len(terms))
        if is_in:
            return having(f"x.term IN ({marks})", terms, is_exact)
        # Arrays and objects are in no list, and out of none.
        primitive = "x.term >= 'b' AND (x.term < 'o' OR x.term >= 'p')"
        return (
            having(f"{primitive} AND x.term NOT IN ({marks})", terms, True)
            if is_exact
            else having(primitive, (), False)
        )

    def test(name: str) -> Cover:
        if name == "IS_DEFINED":
            return having("1", (), True)
        kind = _TERM_TYPES[name]
        return having("x.term >= ? AND x.term < ?", (kind, chr(ord(kind) + 1)), True)

    def starts_with(beginning: str) -> Cover:
        least = text_term(beginning)
        _, behind = _range(least)
        return having("x.term >= ? AND x.term < ?", (least, behind or "t"), len(beginning) <= MAX_TEXT)

    return _Place(compare, among, test, starts_with)


def _is_cut(value: Any) -> bool:
    return isinstance(value, str) and len(value) >= MAX_TEXT


def _range(beginning: str) -> tuple[str, str | None]:
    """The least text with that beginning, and the least behind all of them; None when there is none."""
    cut = beginning.rstrip("\U0010ffff")
    if not cut:
        return beginning, None
    code = ord(cut[-1]) + 1
    # No text holds half of a surrogate pair.
    return beginning, cut[:-1] + chr(0xE000 if 0xD800 <= code <= 0xDFFF else code)


# -- drivers -----------------------------------------------------------------------------------------------------------


def drivers(expression: Expression, hub: HubId, rows: TwinRows) -> list[tuple[Driver, ...]]:
    """The ways into the data, each of them enough by itself: one index, or the union of several."""
    return _Driving(hub, rows).drivers(expression, True)


class _Driving:
    def __init__(self, hub: HubId, rows: TwinRows) -> None:
        self._hub = hub
        self._rows: TwinRows = rows

    def drivers(self, expression: Expression, value: bool) -> list[tuple[Driver, ...]]:
        match expression:
            case Not(operand):
                return self.drivers(operand, not value)
            case Logical(operator, operands):
                found = [self.drivers(operand, value) for operand in operands]
                if (operator == "AND") == value:
                    # Each narrows by itself, and leaves the others to be looked at.
                    return [tuple(replace(each, is_exact=False) for each in union) for some in found for union in some]
                return self._union(found)
            case Comparison(sign, Path() as path, Constant(constant)):
                return self._of_comparison(path, sign if value else _OPPOSITE[sign], constant)
            case Comparison(sign, Constant(constant), Path() as path):
                return self._of_comparison(path, _FLIPPED[sign] if value else _OPPOSITE[_FLIPPED[sign]], constant)
            case Membership(Path() as path, ArrayOf(items), is_negated) if is_negated is not value:
                constants = _constants(items)
                return [] if constants is None else self._of_place(path, lambda place: place.among(constants, True))
            case Path() if value:
                return self._of_comparison(expression, "=", True)
            case Call("STARTS_WITH", (Path() as path, Constant(str() as beginning))) if value and beginning:
                return self._of_place(path, lambda place: place.starts_with(beginning))
            case Call("IS_DEFINED", (Path() as path,)) if value:
                return self._of_place(path, lambda place: place.test("IS_DEFINED"))
        return []

    def _union(self, found: Sequence[Sequence[tuple[Driver, ...]]]) -> list[tuple[Driver, ...]]:
        """Every alternative needs a way in; where it has several, the first is taken."""
        if not all(found):
            return []
        union = tuple(driver for alternatives in found for driver in alternatives[0])
        return [union] if len(union) <= _MAX_UNION else []

    def _of_comparison(self, path: Path, operator: Operator, constant: Any) -> list[tuple[Driver, ...]]:
        if operator == "!=":
            return []
        return self._of_place(path, lambda place: place.compare(operator, constant), is_equality=operator == "=")

    def _of_place(
        self, path: Path, ask: Callable[[_Place], Cover], *, is_equality: bool = False
    ) -> list[tuple[Driver, ...]]:
        way = self._way(path, is_equality)
        if way is None:
            return []
        table, place, more = way
        found = ask(place)
        if found is ALL:
            return []
        sql = f"SELECT x.device_id, x.module_id FROM {table} WHERE x.hub_id = ? AND {_KIND[self._rows]}"
        narrow = "".join(f" AND x.{column} = ?" for column, _ in more)
        driver = Driver(
            f"{sql}{narrow} AND {found.sql}",
            (self._hub, *(value for _, value in more), *found.parameters),
            is_ordered=is_equality or path.names == ("deviceId",),
            is_exact=found.is_exact,
        )
        return [(driver,)]

    def _way(self, path: Path, is_equality: bool) -> tuple[str, _Place, tuple[tuple[str, str], ...]] | None:
        """The table that has an index for the path, how to ask it, and what else it is asked for."""
        is_device = self._rows == "devices"
        match path.names:
            case ("deviceId",):
                return "identities AS x", _text_column("x.device_id"), ()
            case ("moduleId",) if not is_device:
                return "identities AS x", _text_column("x.module_id"), ()
            case ("status",) if is_device and is_equality:
                return "identities AS x", _text_column("x.status"), ()
            case ("capabilities", "iotEdge") if is_device and is_equality:
                return "identities AS x INDEXED BY ix_identities_edge", _EDGE, ()
            case ("deviceScope",) if is_device:
                return "identities AS x", _text_column("x.device_scope"), ()
            case ("x509Thumbprint", "primaryThumbprint" | "secondaryThumbprint" as slot):
                column = f"x.{slot.removesuffix('Thumbprint')}_thumbprint"
                return "identities AS x", _text_column(column, null=True), ()
            case ("modelId",):
                return "twins AS x", _MODEL, ()
            case ("configurations", configuration, "status"):
                return "twin_configurations AS x", _text_column("x.status"), (("configuration_id", configuration),)
            case ("tags", *names) if names:
                indexed = path_of(tuple(names))
                if indexed is not None:
                    return "tag_terms AS x", _term_place(Cover), (("path", indexed),)
        return None


def _edge(operator: Operator, constant: Any) -> Cover:
    # The index has edge devices alone, and is found when the condition says so in its own words.
    return Cover("x.is_edge = 1", (), True) if constant is True else ALL


def _model(operator: Operator, constant: Any) -> Cover:
    # What has no model is shown as '', and is not in the index.
    return _text_column("x.model_id").compare(operator, constant) if constant and operator in ("=", ">", ">=") else ALL


_EDGE: Final = _Place(_edge, lambda *_: ALL, lambda *_: ALL, lambda *_: ALL)
_MODEL: Final = _Place(_model, lambda *_: ALL, lambda *_: ALL, _text_column("x.model_id").starts_with)
