"""People in a storm: each types one command after the other in Slack, and remembers what they were told."""

import asyncio
import html
import itertools
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from tests.attacks.storm_engine import WORD
from tests.attacks.storm_truth import Kind, Known, Outcome, effect, outcome
from tests.fakes.slack import TEAM, FakeSlack, words

PATIENCE = 30.0
"""Seconds that a person waits for an answer before they type the next line."""
FORGETS = 4.0
"""Seconds that they wait for an answer of a model: it comes when it comes."""
VERBS = {
    Kind.ABSENT: ("deploy",) * 6 + ("sleep", "status"),
    Kind.ASLEEP: ("wake", "wake", "ask", "stop", "scale", "undo", "status", "deploy"),
    Kind.AWAKE: ("sleep", "sleep", "stop", "ask", "ask", "scale", "keep", "status", "why", "gpus", "wake"),
}
"""What somebody types, by what they take the model for; now and then what makes no sense."""
CARDS = ("deploy", "wake", "undo", "scale")
"""Whose answer is a card: the first words of it are no answer yet."""
WAITS = re.compile("your question is answered as soon as it is ready")
LOOKS = "I am looking …"
SOON = 3.0
"""Seconds in which a promise that was made is written down, too, on a busy machine."""
_numbers = itertools.count(1)


@dataclass
class Command:
    """One line that was typed."""

    verb: str
    line: str
    model: str
    channel: str
    asked: str
    """The id of its message."""
    sent_at: float
    delivered: bool
    """Slack could hand it to a bot."""
    answered_at: float | None = None

    def history(self, slack: FakeSlack) -> list[list[str]]:
        """What each message in answer to it has said, at each time."""
        said = []
        for post in slack.posted(self.channel, self.asked):
            texts = [*(text for _, text in post["history"]), words(post)]
            said.append([html.unescape(text) for text in texts])
        return said

    def text(self, slack: FakeSlack) -> str:
        """All that answers it now."""
        return "\n".join(texts[-1] for texts in self.history(slack))

    @property
    def word(self) -> str:
        """What the answer to a question must hold."""
        found = WORD.search(self.line)
        return found[0] if found else ""

    def excused(self, kills: list[float], slack: FakeSlack) -> bool:
        """No bot heard it, or a bot was killed while it may have been at it. One that has promised an answer
        to a question is excused for a moment only: then the promise is stored."""
        promised = self.verb == "ask" and WAITS.search(self.text(slack))
        longest = SOON if promised else PATIENCE
        at_it = any(self.sent_at <= killed <= self.sent_at + longest for killed in kills)
        return at_it or not (self.delivered or promised)

    def is_answered(self, slack: FakeSlack) -> bool:
        """Somebody who reads it knows what has become of it."""
        said = self.history(slack)
        if not said:
            return False
        text = self.text(slack)
        if LOOKS in text:
            return False
        if self.verb == "ask":
            return (self.word in text.replace(self.line, "") and "tokens/s" in text) or not WAITS.search(text)
        if self.verb in CARDS and outcome(text) is Outcome.DONE:
            return any(len(texts) > 1 for texts in said) and "asking the cluster" not in text
        return True


class Person:
    """Somebody with models of their own: nobody else changes these."""

    def __init__(
        self, slack: FakeSlack, name: str, models: int, chance: random.Random, *, student: bool = False
    ) -> None:
        self.user, self.is_student = slack.person(f"U{name.upper()}"), student
        self.known = {f"{name}-{n}": Known(f"{name}-{n}") for n in range(1, models + 1)}
        self.commands: list[Command] = []
        self.untrue: list[str] = []
        self._slack, self._chance, self._name = slack, chance, name
        self._waiting: list[asyncio.Task[None]] = []

    async def type_until(self, over: Callable[[], bool]) -> None:
        """One line after the other."""
        while not over():
            await self._type_one()
            await asyncio.sleep(self._chance.uniform(0, 0.5))

    async def finish(self) -> None:
        """No longer wait for answers of models."""
        for task in self._waiting:
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)

    async def _type_one(self) -> None:
        known = self._chance.choice(list(self.known.values()))
        verb = self._chance.choice(VERBS[known.likely()])
        size = self._chance.choice((1, 2))
        line = {
            "deploy": f"deploy tinyllama name={known.name}",
            "stop": f"stop {known.name} --sure",
            "scale": f"scale {known.name} replicas={size}",
            "ask": f"ask {known.name} say word-{next(_numbers)}",
            "gpus": "gpus",
        }.get(verb, f"{verb} {known.name}")
        asked = known.questions > 0
        command = await self._say(verb, line, known.name)
        if verb == "ask":
            await self._ask(command, known)
            return
        await self._until_answered(command, PATIENCE)
        if verb in ("status", "why", "gpus"):
            return
        text = command.text(self._slack)
        said = outcome(text) if command.answered_at else Outcome.UNSURE
        if wrong := known.told(effect(verb, size), said, line, asked=asked):
            self.untrue.append(f"{wrong}: {text!r}")

    async def _ask(self, command: Command, known: Known) -> None:
        """The answer may come much later; until then the question wakes the model whenever it sleeps."""
        known.questions += 1
        known.told(effect("ask"), Outcome.UNSURE, command.line)
        self._waiting.append(asyncio.create_task(self._until_told(command, known)))
        await self._until_answered(command, FORGETS)

    async def _until_told(self, command: Command, known: Known) -> None:
        await self._until_answered(command, float("inf"))
        known.questions -= 1

    async def _until_answered(self, command: Command, seconds: float) -> None:
        end = monotonic() + seconds
        while command.answered_at is None and monotonic() < end:
            if command.is_answered(self._slack):
                command.answered_at = monotonic()
            await asyncio.sleep(0.05)

    async def _say(self, verb: str, line: str, model: str) -> Command:
        """In the conversation with the bot alone, where whatever it says is in the thread of the message."""
        slack, channel = self._slack, f"D{self.user[1:]}"
        asked, event_id = slack.timestamp(), f"Ev-{len(self.commands)}-{self.user}"
        slack.messages[channel, asked] = {
            "user": self.user, "text": line, "thread_ts": "", "ts": asked, "history": [],
        }  # fmt: skip
        command = Command(verb, line, model, channel, asked, monotonic(), delivered=True)
        self.commands.append(command)
        event = {"user": self.user, "team": TEAM, "text": line, "channel": channel, "ts": asked}
        await slack.event(event | {"type": "message", "channel_type": "im"}, event_id)
        command.delivered = event_id not in slack.unacknowledged
        return command
