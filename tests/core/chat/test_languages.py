"""The files of languages: complete where they have to be, and of one mind about what is typed."""

from pathlib import Path

import pytest

from bot.app.clock import SystemClock
from bot.commands import COMMANDS
from bot.core.chat import languages
from bot.core.chat.text import Phrasebook, or_else, t


def test_days_are_understood_in_every_language() -> None:
    assert languages.DAYS["tu"] == languages.DAYS["di"] == 1
    assert len(set(languages.DAYS.values())) == 7


def test_words_for_commands_are_for_commands_that_there_are_and_are_none_themselves() -> None:
    assert languages.VERBS["hilfe"] == "help"
    assert set(languages.VERBS.values()) <= set(COMMANDS)
    assert not set(languages.VERBS) & set(COMMANDS)


def test_no_two_languages_give_a_word_different_meanings() -> None:
    for table in ("days", "verbs"):
        meanings: dict[str, set[object]] = {}
        for file in languages.LOCALES.glob("*.toml"):
            typed = languages.read(file).get(languages.TYPED, {})
            words = (
                enumerate(typed.get("days", ()))
                if table == "days"
                else [(verb, word) for verb, many in typed.get("verbs", {}).items() for word in many]
            )
            for meaning, word in words:
                meanings.setdefault(word, set()).add(meaning)
        assert {word for word, several in meanings.items() if len(several) > 1} == set()


def test_what_a_language_lacks_is_said_in_english_or_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "en.toml").write_text('[a]\nb = "English {x}"\n')
    (tmp_path / "fr.toml").write_text('[a]\nc = "français"\n')
    phrases = Phrasebook(tmp_path, SystemClock().now)
    assert phrases.say(t("a.c"), "fr") == "français"
    assert phrases.say(t("a.b", x="y"), "fr") == "English y"
    assert phrases.say(or_else(t("a.d"), "as {it} is"), "fr") == "as {it} is"
    with pytest.raises(KeyError):
        phrases.say(t("a.d"), "fr")
