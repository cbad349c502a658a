"""From a construct declaration to `struct` formats: how the codecs of this package are derived.

Knows: how a Struct of fixed-size fields, each possibly with a rule, and of counted bytes is walked.
Refuses to know: any layout; `declarations` has them.

Operations: `struct_format` of a fixed-size declaration; `Layout` encodes and decodes one with counted parts,
in one `struct` call for every run of fixed-size fields. Interpreted construct is the oracle in the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import itemgetter
from struct import Struct as Packer
from struct import error as struct_error
from typing import Any, Final, NamedTuple, TypeAlias

import construct as c

from rudp.errors import DecodeError

__all__ = ["Check", "Layout", "fields", "is_counted", "scalar", "struct_format"]

Bytes: TypeAlias = bytes | memoryview
Rule: TypeAlias = Callable[[Any, Any], bool]
# Which field of a run, its name, the rule it must pass, and that in words.
Check: TypeAlias = tuple[int, str, Rule, str]
Picker: TypeAlias = Callable[[tuple[Any, ...]], tuple[Any, ...]]


class Scalar(NamedTuple):
    """A fixed-size field: its `struct` code, its constant value if it has one, the rules it must pass."""

    code: str
    const: int | None
    rules: tuple[tuple[Rule, str], ...]


class _Step(NamedTuple):
    """A run of fixed-size fields, then (if `counted`) as many items of `item_size` as its last field says."""

    packer: Packer
    constants: tuple[int, ...]
    values: int
    """Fields that are neither constants nor the count."""
    in_order: Picker
    """All fields in wire order, from the constants, the values and the count."""
    constants_of: Picker
    values_of: Picker
    checks: tuple[Check, ...]
    counted: bool
    item_size: int


def fields(declaration: Any) -> Iterator[tuple[str, Any]]:
    """Names and subcons of a Struct's fields, those of nested Structs included, in wire order."""
    for field in declaration.subcons:
        subcon = field
        while isinstance(subcon, c.Renamed):
            subcon = subcon.subcon
        if isinstance(subcon, c.Struct):
            yield from fields(subcon)
        elif field.name is not None:
            yield field.name, subcon


def is_counted(subcon: Any) -> bool:
    """Whether an earlier field says how long this one is."""
    return isinstance(subcon, c.Array) or (isinstance(subcon, c.Bytes) and callable(subcon.length))


def scalar(subcon: Any) -> Scalar:
    """The `struct` code, constant and rules of a fixed-size field."""
    const: int | None = None
    rules: list[tuple[Rule, str]] = []
    while True:
        if isinstance(subcon, c.FormatField):
            order, code = subcon.fmtstr
            assert order == ">", "integers are big-endian"
            break
        if isinstance(subcon, c.Transformed):
            assert subcon.sizeof() == 1, "bit fields fill one byte"
            code = "B"
            break
        if isinstance(subcon, c.Bytes):
            assert not callable(subcon.length)
            code = f"{subcon.length}s"  # which pads and cuts in silence
            rules.append((_has_size(subcon.length), f"{subcon.length} bytes"))
            break
        if isinstance(subcon, c.Const):
            const = subcon.value
        if isinstance(subcon, c.ExprValidator):
            rules.append((subcon.rule, subcon.text))
        subcon = subcon.subcon
    return Scalar(code, const, tuple(rules))


def _has_size(size: int) -> Rule:
    return lambda value, _: len(value) == size


def struct_format(declaration: Any) -> str:
    """The `struct` format (with its byte order) of a declaration that has only fixed-size fields."""
    return ">" + "".join(scalar(subcon).code for _, subcon in fields(declaration))


class Layout:
    """Encoder and decoder of one declaration, derived from it.

    Values come and go in wire order, without constants and counts; a counted field is the bytes of its items.
    """

    __slots__ = ("steps",)

    def __init__(self, declaration: Any) -> None:
        self.steps: Final = tuple(_steps(declaration))

    @property
    def size(self) -> int:
        """Bytes of all fixed-size fields."""
        return sum(step.packer.size for step in self.steps)

    def encode(self, *values: Any) -> bytes:
        """The bytes of `values`. Raises ValueError for one that breaks a rule or is too large."""
        at = 0
        parts: list[bytes] = []
        for packer, constants, count, in_order, _, _, checks, counted, item_size in self.steps:
            given = constants + values[at : at + count]
            at += count
            data = b""
            if counted:
                data = values[at]
                given += (len(data) // item_size,)
                at += 1
            arguments = in_order(given)
            for index, name, rule, text in checks:
                if not rule(arguments[index], None):
                    raise ValueError(f"{name} {arguments[index]} must be {text}")
            try:
                parts += (packer.pack(*arguments), data)
            except struct_error as error:
                raise ValueError(str(error)) from error
        return b"".join(parts)

    def decode(self, view: Bytes, position: int) -> tuple[list[Any], int]:
        """Values from `position` on, and where they end. Raises DecodeError or, when short, struct.error."""
        values: list[Any] = []
        for packer, constants, _, _, constants_of, values_of, checks, counted, item_size in self.steps:
            found = packer.unpack_from(view, position)
            position += packer.size
            for index, name, rule, text in checks:
                if not rule(found[index], None):
                    raise DecodeError(f"{name} is {found[index]}, not {text}")
            if constants and constants_of(found) != constants:
                raise DecodeError(f"{constants_of(found)} instead of the constants {constants}")
            values += values_of(found)
            if counted:
                stop = position + found[-1] * item_size
                if stop > len(view):
                    raise DecodeError("a length goes beyond the end")
                values.append(bytes(view[position:stop]))
                position = stop
        return values, position


def _steps(declaration: Any) -> Iterator[_Step]:
    scalars: list[Scalar] = []
    names: list[str] = []
    for name, subcon in fields(declaration):
        if not is_counted(subcon):
            scalars.append(scalar(subcon))
            names.append(name)
            continue
        yield _step(scalars, names, True, subcon.subcon.sizeof() if isinstance(subcon, c.Array) else 1)
        scalars, names = [], []
    if scalars:
        yield _step(scalars, names, False, 1)


def _step(scalars: list[Scalar], names: list[str], counted: bool, item_size: int) -> _Step:
    packer = Packer(">" + "".join(part.code for part in scalars))
    checks = tuple(
        (index, names[index], rule, text) for index, part in enumerate(scalars) for rule, text in part.rules
    )
    there = range(len(scalars) - counted)
    fixed = [place for place in there if scalars[place].const is not None]
    others = [place for place in there if scalars[place].const is None]
    constants = tuple(const for part in scalars if (const := part.const) is not None)
    order = [*fixed, *others, *range(len(there), len(scalars))]
    in_order = _picker([order.index(place) for place in range(len(scalars))])
    return _Step(
        packer, constants, len(others), in_order, _picker(fixed), _picker(others), checks, counted, item_size
    )


def _picker(places: list[int]) -> Picker:
    """The items at these places, as a tuple, in one call of a C function."""
    if len(places) > 1:
        return itemgetter(*places)
    first = places[0] if places else 0
    return itemgetter(slice(first, first + len(places)))
