"""The languages that the bot speaks and understands: one file of `bot/locales/` each.

A file holds sentences, and under `[typed]` the words that people may type in that language. The words of all
files are understood, whatever language the bot answers in. Where two files give a word different meanings,
the file whose name comes first in the alphabet wins."""

import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

LOCALES = Path(__file__).parents[2] / "locales"
"""The folder of the files, each named like its language: `en.toml`."""
TYPED = "typed"
"""The table of a file that holds no sentences, but words that people type."""


@cache
def read(file: Path) -> Mapping[str, Any]:
    """The tables of a language's file, which is read once."""
    return tomllib.loads(file.read_text(encoding="utf-8"))


def _typed() -> Iterator[Mapping[str, Any]]:
    for file in sorted(LOCALES.glob("*.toml")):
        yield read(file).get(TYPED, {})


def _days() -> dict[str, int]:
    days: dict[str, int] = {}
    for words in _typed():
        for number, day in enumerate(words.get("days", ())):
            days.setdefault(day, number)
    return days


def _verbs() -> dict[str, str]:
    verbs: dict[str, str] = {}
    for words in _typed():
        for verb, synonyms in words.get("verbs", {}).items():
            for synonym in synonyms:
                verbs.setdefault(synonym, verb)
    return verbs


NAMES = tuple(sorted(file.stem for file in LOCALES.glob("*.toml")))
"""Languages by their ISO 639 code: `de`, `en`."""
UNTIL = tuple(word for words in _typed() for word in words.get("until", ()))
"""The words that may stand before a time of day: `until 22:00`, `bis 22:00`."""
DAYS = _days()
"""Days of the week as people abbreviate them, Monday is 0."""
VERBS = _verbs()
"""The verbs of commands by their words in any language: `hilfe` is `help`."""
