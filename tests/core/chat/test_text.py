"""Sentences, numbers and times in the reader's language."""

from datetime import UTC, datetime, timedelta

import pytest

from bot.core.chat.languages import LOCALES
from bot.core.chat.text import Phrasebook, duration, t
from bot.core.chat.units import Tokens
from tests.conftest import Say


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (-5, "0 s"),
        (59.6, "1 min"),
        (252, "4 min 12 s"),
        (3600, "1 h"),
        (3659, "1 h"),
        (93784, "1 d 2 h"),
    ],
)
def test_durations_in_two_units(seconds: float, said: str) -> None:
    assert duration(timedelta(seconds=seconds)) == said


def test_numbers_by_language(say: Say) -> None:
    text = t("fit.weights", weights=14.96, usable=14.19)
    assert say(text) == "weights alone are 15.0 of 14.2 usable GiB."
    assert say(text, "de_AT") == "allein die Gewichte brauchen 15,0 von 14,2 nutzbaren GiB."
    text = t("fit.cache", tokens=5904, length=Tokens(8192))
    assert "holds 5,904 tokens; one request of 8k" in say(text)
    assert "fasst der KV-Cache 5.904 Tokens; eine Anfrage mit 8k" in say(text, "de-DE")


def test_plurals(say: Say) -> None:
    assert "gives its GPU back" in say(t("sleep.done", name="x", count=1))
    assert "gives its 4 GPUs back" in say(t("sleep.done", name="x", count=4))


def test_an_unknown_language_is_english(say: Say) -> None:
    assert say(t("phase.ready"), "pt_BR") == "ready"


def test_times_are_local_and_have_a_date_when_that_is_not_today() -> None:
    now = datetime(2030, 1, 15, 23, 30, tzinfo=UTC)  # half past midnight in Berlin
    phrases = Phrasebook(LOCALES, lambda: now, "Europe/Berlin")

    def told(at: datetime) -> str:
        return phrases.say(t("card.ends", at=at, left=timedelta(0)), "en")

    assert "00:30" in told(now) and "Jan" not in told(now)
    assert "15 Jan 23:59" in told(now - timedelta(minutes=31))


def test_dates_are_written_as_in_the_language(phrases: Phrasebook) -> None:
    winter = datetime(2020, 1, 15, 12, 0, tzinfo=UTC)
    assert "15 Jan 13:00" in phrases.say(t("card.ends", at=winter, left=timedelta(0)), "en")
    summer = datetime(2020, 7, 15, 12, 0, tzinfo=UTC)
    assert "15 Juli 14:00" in phrases.say(t("card.ends", at=summer, left=timedelta(0)), "de")


def test_what_people_type_is_never_a_template(say: Say) -> None:
    assert say(t("slip.verb", verb="{0.__class__}")) == "There is no “{0.__class__}”."
