"""What values a field takes, in words: for tables of settings, options and annotations."""

import re
from collections.abc import Iterator
from datetime import time, timedelta
from enum import StrEnum
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from bot.core.access.roles import Quota
from bot.grammar.command import spell
from tools.markdown import code

ANYTHING = "text"
TYPES: dict[Any, str] = {
    SecretStr: "secret",
    timedelta: "duration, such as `90m` or `4h`",
    Quota: "limits, such as `gpus=2 ttl=8h`",
    time: "time of day, such as `22:00`",
    int: "number",
    float: "number",
    bool: "yes or no",
    str: ANYTHING,
}


def takes(field: FieldInfo) -> str:
    """What values a field takes, in words."""
    kinds = [_kind(kind) for kind in _kinds(field.annotation)]
    return ", ".join([" or ".join(kinds), *_bounds(field)])


def _kinds(annotation: Any) -> list[Any]:
    """What a union is of, without None and without what only validates."""
    if get_origin(annotation) in (Union, UnionType):
        return [kind for part in get_args(annotation) for kind in _kinds(part)]
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    return [] if annotation is type(None) else [annotation]


def _kind(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(code(str(choice)) for choice in get_args(kind))
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return ", ".join(code(choice.value) for choice in kind)
    if get_origin(kind) in (frozenset, tuple, list):
        return "list, separated by spaces or commas"
    if get_origin(kind) is dict:
        return "list of `name=value`"
    return TYPES.get(kind, ANYTHING)


def _bounds(field: FieldInfo) -> Iterator[str]:
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    for bound in field.metadata:
        for name, word in words.items():
            if (value := getattr(bound, name, None)) is not None:
                yield f"{word} {spell(value)}"


def stored_as(field: FieldInfo) -> str:
    """The type of a stored field, as the code names it."""
    return ", ".join(code(_type_name(kind)) for kind in _kinds(field.annotation))


def _type_name(kind: Any) -> str:
    if isinstance(kind, type) and not get_args(kind):
        if issubclass(kind, BaseModel):
            return f"{{{', '.join(kind.model_fields)}}}"
        return kind.__name__
    return re.sub(r"\b(?:\w+\.)+", "", str(kind))
