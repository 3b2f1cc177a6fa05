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
from tests.attacks.storm_truth import SEEN, Kind, Known, Outcome, effect, outcome
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
BEHIND = 20.0
"""Seconds after a change in which the other bot, whose watches are cut again and again, may not have seen it:
it says how the model was before, and does nothing."""
LOOK = ("status", "why", "gpus")
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
    size: int
    """That of `scale`."""
    asked_too: bool = False
    """A question waited for the model when it was typed, or when it was answered."""
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
        self.models = {f"{name}-{n}": 0 for n in range(1, models + 1)}
        """How many questions wait for each: they wake it whenever it sleeps."""
        self.commands: list[Command] = []
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

    def known(self, model: str) -> Known:
        """What follows from all that was typed about a model, and said by now."""
        known, changed_at = Known(model), 0.0
        for command in self.commands:
            if command.model == model and command.verb not in LOOK:
                text = command.text(self._slack)
                sure = command.verb != "ask" and command.is_answered(self._slack)
                said = outcome(text) if sure else Outcome.UNSURE
                if said in SEEN and command.sent_at - changed_at < BEHIND:
                    said = Outcome.REFUSED
                if said in (Outcome.DONE, Outcome.UNSURE):
                    changed_at = command.answered_at or command.sent_at + PATIENCE
                line = f"{command.line}: {text}"
                known.told(effect(command.verb, command.size), said, line, asked=command.asked_too)
        return known

    async def _type_one(self) -> None:
        model = self._chance.choice(list(self.models))
        verb = self._chance.choice(VERBS[self.known(model).likely()])
        size = self._chance.choice((1, 2))
        line = {
            "deploy": f"deploy tinyllama name={model}",
            "stop": f"stop {model} --sure",
            "scale": f"scale {model} replicas={size}",
            "ask": f"ask {model} say word-{next(_numbers)}",
            "gpus": "gpus",
        }.get(verb, f"{verb} {model}")
        asked_too = self.models[model] > 0
        command = await self._say(verb, line, model, size)
        if verb == "ask":
            self.models[model] += 1
            self._waiting.append(asyncio.create_task(self._until_told(command)))
        await self._until_answered(command, FORGETS if verb == "ask" else PATIENCE)
        command.asked_too = asked_too or self.models[model] > 0

    async def _until_told(self, command: Command) -> None:
        """The answer to a question may come much later."""
        await self._until_answered(command, float("inf"))
        self.models[command.model] -= 1

    async def _until_answered(self, command: Command, seconds: float) -> None:
        end = monotonic() + seconds
        while command.answered_at is None and monotonic() < end:
            if command.is_answered(self._slack):
                command.answered_at = monotonic()
            await asyncio.sleep(0.05)

    async def _say(self, verb: str, line: str, model: str, size: int) -> Command:
        """In the conversation with the bot alone, where whatever it says is in the thread of the message."""
        slack, channel = self._slack, f"D{self.user[1:]}"
        asked, event_id = slack.timestamp(), f"Ev-{len(self.commands)}-{self.user}"
        slack.messages[channel, asked] = {
            "user": self.user, "text": line, "thread_ts": "", "ts": asked, "history": [],
        }  # fmt: skip
        command = Command(verb, line, model, channel, asked, monotonic(), delivered=True, size=size)
        self.commands.append(command)
        event = {"user": self.user, "team": TEAM, "text": line, "channel": channel, "ts": asked}
        await slack.event(event | {"type": "message", "channel_type": "im"}, event_id)
        command.delivered = event_id not in slack.unacknowledged
        return command
