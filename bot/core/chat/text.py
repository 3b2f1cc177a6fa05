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
from bot.core.clock import SystemClock

DEFAULT_LANGUAGE = "en"
REAL = SystemClock()


@dataclass(frozen=True, slots=True)
class Text:
    """A sentence of `bot/locales/*.toml`, not yet in any language."""

    key: str
    params: Mapping[str, Any] = field(default_factory=dict)
    fallback: str = ""
    """Said as it is where no language has the sentence."""


Say = Callable[[Text], str]
"""Speaks a text in one language."""


def t(key: str, **params: Any) -> Text:
    """Name a sentence of `bot/locales/*.toml`."""
    return Text(key, params)


def or_else(text: Text, fallback: str) -> Text:
    """The text, or words that are the same in every language while no file has a sentence for it."""
    return replace(text, fallback=fallback)


def verbatim(words: str) -> Text:
    """Words that are the same in every language: a name, a number, an address."""
    return t("verbatim", words=words)


class Phrasebook:
    """The sentences of every language, keyed `section.name`; a plural is a table by CLDR category."""

    def __init__(
        self, folder: Path, timezone: str = "Europe/Berlin", now: Callable[[], datetime] = REAL.now
    ) -> None:
        self.sentences = {path.stem: _flatten(path) for path in sorted(folder.glob("*.toml"))}
        self._locales = {language: Locale.parse(language) for language in self.sentences}
        self._zone = ZoneInfo(timezone)
        self._now = now

    def language(self, wish: str) -> str:
        """The language we speak that is nearest to a locale such as `de_AT` or `de-DE`."""
        language = wish.replace("_", "-").split("-")[0].lower()
        return language if language in self.sentences else DEFAULT_LANGUAGE

    def speaker(self, wish: str) -> Say:
        """`say` for one locale."""
        return lambda text: self.say(text, wish)

    def say(self, text: Text, wish: str) -> str:
        """Speak `text` in the language of the locale `wish`."""
        language = self.language(wish)
        sentence = self._sentence(text, language)
        if isinstance(sentence, dict):
            category = self._locales[language].plural_form(text.params["count"])
            sentence = sentence.get(category, sentence["other"])
        spoken = {name: self._value(value, language) for name, value in text.params.items()}
        return str(sentence.format(**spoken))

    def _sentence(self, text: Text, language: str) -> Any:
        """In the language; in the default one where its file lacks it; KeyError where nothing has it."""
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
        """The time of day where the cluster is; with its date when that is not today."""
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
    said = []
    for symbol, seconds in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, seconds)
        if count:
            said.append(f"{count} {symbol}")
        elif said:
            break
    return " ".join(said[:2]) or "0 s"


def _flatten(path: Path) -> dict[str, Any]:
    """`[deploy.help] short = …` → `deploy.help.short`; a table with `other` is one plural sentence."""
    flat: dict[str, Any] = {}
    sentences = {name: table for name, table in read(path).items() if name != TYPED}
    waiting: list[tuple[str, Any]] = [("", sentences)]
    while waiting:
        prefix, value = waiting.pop()
        if isinstance(value, dict) and "other" not in value:
            waiting += [(f"{prefix}.{name}".lstrip("."), inner) for name, inner in value.items()]
        else:
            flat[prefix] = value
    return flat
