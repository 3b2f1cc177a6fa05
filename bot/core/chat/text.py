"""What the bot says: a key and its parameters now, a sentence in some language later."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_datetime, format_time
from babel.numbers import format_decimal

from bot.core.chat.languages import TYPED, read
from bot.core.chat.units import Tokens

DEFAULT_LANGUAGE = "en"


@dataclass(frozen=True, slots=True)
class Text:
    """A sentence of `bot/locales/*.toml` with its parameters, not yet in any language."""

    key: str
    """Which sentence: `section.name`."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Values for the sentence's `{name}` places: texts, numbers, durations, moments, or lists of these. A
    sentence with a plural needs `count`."""
    fallback: str = ""
    """The words to use where no language has the sentence; empty: there must be one."""


Say = Callable[[Text], str]
"""Renders a text in one language."""


def t(key: str, **params: Any) -> Text:
    """A sentence of `bot/locales/*.toml` by its key, with its parameters."""
    return Text(key, params)


def or_else(text: Text, fallback: str) -> Text:
    """The text; where no language has the sentence, `fallback` as it is."""
    return replace(text, fallback=fallback)


def verbatim(words: str) -> Text:
    """Words that are the same in every language: a name, a number, an address."""
    return t("verbatim", words=words)


class Phrasebook:
    """The sentences of every language by their key `section.name`; one with a plural is a table by CLDR
    category."""

    def __init__(self, folder: Path, now: Callable[[], datetime], timezone: str = "Europe/Berlin") -> None:
        self.sentences = {path.stem: _flatten(path) for path in sorted(folder.glob("*.toml"))}
        self._locales = {language: Locale.parse(language) for language in self.sentences}
        self._zone = ZoneInfo(timezone)
        self._now = now

    def language(self, locale: str) -> str:
        """The language that the bot speaks and that is nearest to a locale such as `de_AT` or `de-DE`."""
        language = locale.replace("_", "-").split("-")[0].lower()
        return language if language in self.sentences else DEFAULT_LANGUAGE

    def speaker(self, locale: str) -> Say:
        """`say` for one locale."""
        return lambda text: self.say(text, locale)

    def say(self, text: Text, locale: str) -> str:
        """The sentence in the language of a locale; KeyError where no language has it and it has no
        fallback."""
        language = self.language(locale)
        sentence = self._sentence(text, language)
        if isinstance(sentence, dict):
            category = self._locales[language].plural_form(text.params["count"])
            sentence = sentence.get(category, sentence["other"])
        params = {name: self._value(value, language) for name, value in text.params.items()}
        return str(sentence.format(**params))

    def _sentence(self, text: Text, language: str) -> Any:
        """The sentence in the language, else in the default one, else its fallback."""
        for sentences in (self.sentences[language], self.sentences[DEFAULT_LANGUAGE]):
            if text.key in sentences:
                return sentences[text.key]
        if not text.fallback:
            raise KeyError(text.key)
        return text.fallback.replace("{", "{{").replace("}", "}}")

    def _value(self, value: Any, language: str) -> str:
        match value:
            case Text():
                return self.say(value, language)
            case tuple() | list():
                return ", ".join(self._value(item, language) for item in value)
            case timedelta():
                return duration(value)
            case datetime():
                return self._clock(value, self._locales[language])
            case int() | float():
                return _number(value, self._locales[language])
        return str(value)

    def _clock(self, value: datetime, locale: Locale) -> str:
        """The time of day in the phrasebook's zone; with the date if it is not today."""
        local = value.astimezone(self._zone)
        if local.date() == self._now().astimezone(self._zone).date():
            return str(format_time(local, "HH:mm", tzinfo=self._zone, locale=locale))
        return str(format_datetime(local, "d MMM HH:mm", tzinfo=self._zone, locale=locale))


def _number(value: float, locale: Locale) -> str:
    if isinstance(value, Tokens) and value >= 1024:
        return f"{format_decimal(value // 1024, locale=locale)}k"
    if isinstance(value, int):
        return str(format_decimal(value, locale=locale))
    return str(format_decimal(value, format="#,##0.0", locale=locale))


def duration(value: timedelta) -> str:
    """The two largest units of a duration: `4 min 12 s`, `2 d 3 h`. SI symbols need no translation."""
    rest = max(0, round(value.total_seconds()))
    units: list[str] = []
    for symbol, seconds in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, seconds)
        if count:
            units.append(f"{count} {symbol}")
        elif units:
            break
    return " ".join(units[:2]) or "0 s"


def _flatten(path: Path) -> dict[str, Any]:
    """`[deploy.help] short = …` → `deploy.help.short`; a table with `other` is one plural sentence."""
    flat: dict[str, Any] = {}
    sentences = {name: table for name, table in read(path).items() if name != TYPED}
    remaining: list[tuple[str, Any]] = [("", sentences)]
    while remaining:
        prefix, value = remaining.pop()
        if isinstance(value, dict) and "other" not in value:
            remaining += [(f"{prefix}.{name}".lstrip("."), inner) for name, inner in value.items()]
        else:
            flat[prefix] = value
    return flat
