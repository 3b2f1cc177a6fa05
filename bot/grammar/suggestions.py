"""Mistyped lines: what is wrong with them, and what they were probably meant to be."""

from collections.abc import Callable, Iterable
from typing import Any

from pydantic import ValidationError
from rapidfuzz import fuzz, process, utils

from bot.core.chat.text import Text, t, verbatim
from bot.grammar.command import Command, KnownName

Names = Callable[[str], Iterable[str]]
"""Gives the names that exist of a kind, `model` or `workload`."""
CLOSE = 60.0
"""How similar a word must be to count as a mistyped one, from 0 to 100."""

_BOUNDS = {
    "greater_than_equal": ("slip.at_least", "ge"),
    "less_than_equal": ("slip.at_most", "le"),
    "greater_than": ("slip.above", "gt"),
    "string_too_long": ("slip.too_long", "max_length"),
}
_SPELLED = {
    "missing": "slip.missing",
    "tokens": "slip.tokens",
    "duration": "slip.duration",
    "time": "slip.time",
    "hours": "slip.hours",
    "window": "slip.window",
    "share": "slip.share",
    "shape": "slip.shape",
    "bool_parsing": "slip.yes_or_no",
}


def similar(word: str, choices: Iterable[str], close: float = CLOSE) -> str | None:
    """The choice that is most similar to a word; None if none is at least as similar as `close`, from 0 to
    100."""
    match = process.extractOne(
        word[:60].lower(),
        list(choices),
        scorer=fuzz.ratio,
        processor=utils.default_process,
        score_cutoff=close,
    )
    return match[0] if match else None


def explain(command: type[Command], error: ValidationError) -> Text:
    """The first thing that is wrong with the arguments, as a sentence."""
    problem = error.errors()[0]
    kind = problem["type"]
    field = str(problem["loc"][0])
    name = _short(command, field)
    value = str(problem["input"])[:60]
    if kind in _BOUNDS:
        key, bound = _BOUNDS[kind]
        return t(key, option=name, bound=_typed(problem["ctx"][bound]))
    if kind in ("enum", "literal_error"):
        choices = problem["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
        return t("slip.choice", option=name, value=value, choices=choices)
    if kind in _SPELLED:
        return t(_SPELLED[kind], option=name, value=value)
    return t("slip.number", option=name, value=value)


def _typed(bound: Any) -> Any:
    """A fraction as people type it: rounded to one decimal, 0.97 would be 1.0."""
    return verbatim(f"{bound:g}") if isinstance(bound, float) else bound


def mend(command: type[Command], arguments: dict[str, Any], names: Names) -> str | None:
    """The line with names corrected and wrong values replaced by examples; None if a required argument is
    left out."""
    mended = {name: _likely(command, name, value, names) for name, value in arguments.items()}
    for _ in range(len(mended) + 1):
        try:
            return command.model_validate(mended).line()
        except ValidationError as error:
            for problem in error.errors():
                name, field = _field(command, str(problem["loc"][0]))
                if problem["type"] == "missing" or name not in mended:
                    return None
                if field.examples and mended[name] != field.examples[0]:
                    mended[name] = field.examples[0]
                else:
                    mended.pop(name)
    return None


def _likely(command: type[Command], name: str, value: Any, names: Names) -> Any:
    for mark in command.model_fields[name].metadata:
        if isinstance(mark, KnownName):
            existing = list(names(mark.kind))
            lowered = str(value).lower()
            return lowered if lowered in existing else similar(str(value), existing) or value
    return value


def _field(command: type[Command], loc: str) -> tuple[str, Any]:
    """An error names a field by its alias where it has one."""
    for name, field in command.model_fields.items():
        if loc in (name, field.alias):
            return name, field
    raise KeyError(loc)


def _short(command: type[Command], loc: str) -> str:
    name, field = _field(command, loc)
    return str(field.alias or name.replace("_", "-"))
