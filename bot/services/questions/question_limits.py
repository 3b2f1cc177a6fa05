"""How many questions are at work, of one person and to one model: the other connections are for others."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from bot.core.chat.errors import UserError
from bot.core.chat.text import t
from bot.core.counters import REFUSED
from bot.core.personal_limit import Entry, PersonalLimit

OF_A_PERSON = 5
"""Questions of one person that wait or are answered at the same time."""
OF_A_MODEL = 50
"""Questions to one model, of everybody in chat, that wait or are answered at the same time."""


class QuestionLimits:
    """Counts questions from the moment they are asked until they are answered."""

    def __init__(self) -> None:
        self._people = PersonalLimit(OF_A_PERSON, "questions of a person")
        self._models: Counter[str] = Counter()
        """By model; only models that somebody asks."""

    @contextmanager
    def asking(self, model: str, person: str) -> Iterator[bool]:
        """Count a question during the block. UserError if there are too many; False instead if the person was
        told so of another one: then nothing is to be said."""
        with self._people.entering(person) as entry:
            if entry is Entry.REFUSED:
                raise UserError(t("ask.yours", count=OF_A_PERSON))
            if entry is Entry.REFUSED_AGAIN:
                yield False
                return
            if self._models[model] >= OF_A_MODEL:
                REFUSED.labels("questions to a model").inc()
                raise UserError(t("ask.full", name=model, count=OF_A_MODEL))
            self._models[model] += 1
            try:
                yield True
            finally:
                self._models[model] -= 1
                if not self._models[model]:
                    del self._models[model]
