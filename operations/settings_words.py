"""What a settings struct allows: its shape to walk along, and its bounds in words."""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec
from msgspec import inspect


@dataclass(frozen=True)
class Shape:
    """A type annotation as the reader of a settings file walks along it."""

    annotation: Any

    @cached_property
    def bare(self) -> Any:
        """The annotation without `Annotated` and without `| None`: TOML has no null."""
        inner = _unwrapped(self.annotation)
        members = _members(inner)
        return _unwrapped(members[0]) if len(members) == 1 else inner

    @cached_property
    def fields(self) -> dict[str, Shape] | None:
        """Shapes by key if this is a struct."""
        if not _is_struct(self.bare):
            return None
        return {f.encode_name: shape_of(f.type) for f in msgspec.structs.fields(self.bare)}

    @cached_property
    def required(self) -> tuple[str, ...]:
        """Keys of a struct that have no default."""
        if not _is_struct(self.bare):
            return ()
        return tuple(f.encode_name for f in msgspec.structs.fields(self.bare) if f.required)

    @cached_property
    def is_list(self) -> bool:
        """True of a list, a set, or a tuple of any length of one type."""
        origin = typing.get_origin(self.bare)
        args = typing.get_args(self.bare)
        return origin in (list, set, frozenset) or (origin is tuple and args[1:] == (...,))

    @cached_property
    def values(self) -> Shape | None:
        """The shape of the values of a table of free keys, or of the items of a list."""
        args = typing.get_args(self.bare)
        if typing.get_origin(self.bare) is dict:
            return shape_of(args[1])
        return shape_of(args[0]) if self.is_list and args else None

    @cached_property
    def choices(self) -> list[str]:
        """The texts that a Literal or an enumeration allows."""
        info = _without_none(inspect.type_info(self.annotation))
        if isinstance(info, inspect.LiteralType):
            return [value for value in info.values if isinstance(value, str)]
        if isinstance(info, inspect.EnumType):
            return [m.value for m in info.cls if isinstance(m.value, str)]
        return []

    def among(self, value: object) -> Shape:
        """The one member of a union that a table or a list can be meant for, else itself."""
        members = [shape_of(member) for member in _members(_unwrapped(self.annotation))]
        if isinstance(value, dict):
            fitting = [m for m in members if m.fields is not None or _is_dict(m.bare)]
        elif isinstance(value, list):
            fitting = [m for m in members if m.is_list]
        else:
            return self
        return fitting[0] if len(fitting) == 1 and len(members) > 1 else self


def shape_of(annotation: Any) -> Shape:
    """The shape of a type annotation or a struct."""
    return Shape(annotation)


def allowed(annotation: Any) -> str:
    """What a value may be, in words: `a whole number from 1 to 65535`."""
    return _words(inspect.type_info(annotation))


def _words(info: inspect.Type) -> str:
    info = _without_none(info)
    match info:
        case inspect.UnionType(types=members):
            return " or ".join(_words(m) for m in members if not isinstance(m, inspect.NoneType))
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType() | inspect.FloatType():
            noun = "a whole number" if isinstance(info, inspect.IntType) else "a number"
            return noun + _bounds(info.ge, info.gt, info.le, info.lt) + _multiple(info.multiple_of)
        case inspect.StrType():
            return "text in quotes" + _lengths(info, "characters") + _pattern(info.pattern)
        case inspect.LiteralType(values=values):
            return "one of " + ", ".join(_choice(value) for value in values)
        case inspect.EnumType(cls=cls):
            return "one of " + ", ".join(_choice(member.value) for member in cls)
        case inspect.ListType() | inspect.SetType() | inspect.FrozenSetType():
            return "a list" + _lengths(info, "items") + f", each {_words(info.item_type)}"
        case inspect.VarTupleType():
            return "a list" + _lengths(info, "items") + f", each {_words(info.item_type)}"
        case inspect.TupleType(item_types=items):
            return f"a list of {len(items)}: " + ", ".join(_words(item) for item in items)
        case inspect.DictType(value_type=value_type):
            return "a table" + _lengths(info, "keys") + f", each value {_words(value_type)}"
        case inspect.StructType():
            keys = ", ".join(field.encode_name for field in info.fields)
            return f"a table with the keys {keys}" if keys else "an empty table"
        case _:
            return _OTHERS.get(type(info), "another value")


_OTHERS: dict[type[inspect.Type], str] = {
    inspect.DateTimeType: "a date and time, 2026-01-02T03:04:05Z",
    inspect.DateType: "a date, 2026-01-02",
    inspect.TimeType: "a time of day, 03:04:05",
}


def _bounds(ge: float | None, gt: float | None, le: float | None, lt: float | None) -> str:
    if ge is not None and le is not None:
        return f" from {ge:g} to {le:g}"
    parts = [
        f"{word} {bound:g}"
        for word, bound in (("at least", ge), ("above", gt), ("at most", le), ("below", lt))
        if bound is not None
    ]
    return " " + " and ".join(parts) if parts else ""


def _multiple(of: float | None) -> str:
    return "" if of is None else f", a multiple of {of:g}"


def _lengths(info: Any, unit: str) -> str:
    low, high = info.min_length, info.max_length
    if low is not None and high is not None:
        return f" of {low} {unit}" if low == high else f" of {low} to {high} {unit}"
    if low is not None:
        return f" of at least {low} {unit}"
    return "" if high is None else f" of at most {high} {unit}"


def _pattern(pattern: str | None) -> str:
    return "" if pattern is None else f" of the form {pattern}"


def _choice(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _without_none(info: inspect.Type) -> inspect.Type:
    while isinstance(info, inspect.Metadata):
        info = info.type
    if isinstance(info, inspect.UnionType):
        members = [m for m in info.types if not isinstance(m, inspect.NoneType)]
        if len(members) == 1:
            return _without_none(members[0])
    return info


def _members(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [a for a in typing.get_args(annotation) if a is not type(None)]
    return [annotation]


def _unwrapped(annotation: Any) -> Any:
    while True:
        if typing.get_origin(annotation) is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        else:
            return annotation


def _is_struct(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, msgspec.Struct)


def _is_dict(annotation: Any) -> bool:
    return annotation is dict or typing.get_origin(annotation) is dict
