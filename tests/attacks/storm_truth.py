"""What is known of a model from what people asked and were told, whatever happened in between.

After a command whose end nobody told, the model may be in more than one state; what is told later, and what
the cluster holds at the end, must be among them."""

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple

from bot.core.chat.languages import LOCALES


class Kind(Enum):
    """What a model does, as far as people asked for it."""

    ABSENT = auto()
    ASLEEP = auto()
    AWAKE = auto()
    """It runs, starts, or waits for GPUs."""


class State(NamedTuple):
    """Of a model; `size` are its replicas."""

    kind: Kind
    size: int


NOTHING = State(Kind.ABSENT, 0)


class Outcome(Enum):
    """What an answer says."""

    DONE = auto()
    REFUSED = auto()
    """Nothing was done."""
    ABSENT, ASLEEP, AWAKE, EXISTS, SAME = auto(), auto(), auto(), auto(), auto()
    """It was not done, since the model is so already."""
    UNSURE = auto()
    """The bot does not know; or it said nothing."""
    UNTRUE = auto()
    """What cannot be, whatever happened."""


SEEN = {Outcome.ABSENT, Outcome.ASLEEP, Outcome.AWAKE, Outcome.EXISTS, Outcome.SAME}
"""What a bot reads from its copy of the cluster."""


def _patterns() -> list[tuple[re.Pattern[str], Outcome]]:
    told = {
        "workload.unknown": Outcome.ABSENT,
        "workload.gone": Outcome.ABSENT,
        "sleep.already": Outcome.ASLEEP,
        "keep.asleep": Outcome.ASLEEP,
        "wake.awake": Outcome.AWAKE,
        "deploy.taken": Outcome.EXISTS,
        "scale.same": Outcome.SAME,
        "error.internal": Outcome.UNTRUE,
        "deploy.taken_now": Outcome.UNTRUE,  # in the storm nobody else uses the name
        "deploy.no_node": Outcome.UNTRUE,
        "error.api_away": Outcome.REFUSED,
        "error.api_refused": Outcome.REFUSED,
        "error.changed": Outcome.REFUSED,
        "error.forbidden": Outcome.REFUSED,
        "error.quota": Outcome.REFUSED,
        "error.was_done": Outcome.DONE,
        "error.not_done": Outcome.REFUSED,
        "error.still_unknown": Outcome.UNSURE,
        "error.looking": Outcome.UNSURE,
        "quota.gpus": Outcome.REFUSED,
        "quota.gpus_beside": Outcome.REFUSED,
        "quota.deployments": Outcome.REFUSED,
        "quota.tp": Outcome.REFUSED,
    }
    english = tomllib.loads((LOCALES / "en.toml").read_text())
    found = []
    for key, outcome in told.items():
        section, _, name = key.partition(".")
        words = re.sub(r"\\{\w+\\}", ".*?", re.escape(english[section][name]))
        found.append((re.compile(words, re.DOTALL), outcome))
    return found


_TOLD = _patterns()
ENDING = re.compile("is not asleep: ending")
"""It was put to sleep, and its pods are still there: it cannot be woken yet."""


def outcome(text: str) -> Outcome:
    """Of the text that a command was answered with."""
    if ENDING.search(text):
        return Outcome.REFUSED
    return next((outcome for pattern, outcome in _TOLD if pattern.search(text)), Outcome.DONE)


Effect = Callable[[State], State | None]
"""What a command makes of a model in a state; None where it is to be refused."""


def effect(verb: str, size: int = 0) -> Effect:
    """Of a command; that of `scale` has a size."""
    return {
        "deploy": lambda state: State(Kind.AWAKE, 1) if state.kind is Kind.ABSENT else None,
        "sleep": lambda state: State(Kind.ASLEEP, state.size) if state.kind is Kind.AWAKE else None,
        "wake": lambda state: State(Kind.AWAKE, state.size) if state.kind is Kind.ASLEEP else None,
        "undo": lambda state: State(Kind.AWAKE, state.size) if state.kind is Kind.ASLEEP else None,
        "stop": lambda state: NOTHING if state.kind is not Kind.ABSENT else None,
        "scale": lambda state: State(state.kind, size) if state.size not in (0, size) else None,
        "keep": lambda state: state if state.kind is Kind.AWAKE else None,
        "ask": lambda state: State(Kind.AWAKE, state.size) if state.kind is not Kind.ABSENT else None,
    }[verb]


@dataclass
class Known:
    """What is known of one model."""

    name: str
    possible: set[State] = field(default_factory=lambda: {NOTHING})
    untrue: list[str] = field(default_factory=list)
    """What was said of it that cannot be."""

    def told(self, command: Effect, said: Outcome, line: str, *, asked: bool) -> None:
        """Take in how a command ended. `asked`: a question waited for the model when it was typed, or when
        it was answered."""
        before = set(self.possible)
        self._take(command, said)
        if asked:
            self.possible |= {s._replace(kind=Kind.AWAKE) for s in self.possible if s.kind is Kind.ASLEEP}
        if not self.possible or said is Outcome.UNTRUE:
            self.possible = before | self._changed(command, before)
            self.untrue.append(f"“{line}”: {said.name}, while {self.name} was {_spell(before)}")

    def _take(self, command: Effect, said: Outcome) -> None:
        kinds = {
            Outcome.ABSENT: {Kind.ABSENT},
            Outcome.ASLEEP: {Kind.ASLEEP},
            Outcome.AWAKE: {Kind.AWAKE},
            Outcome.EXISTS: {Kind.ASLEEP, Kind.AWAKE},
            Outcome.SAME: {Kind.ASLEEP, Kind.AWAKE},
        }
        if said is Outcome.DONE:
            self.possible = self._changed(command, self.possible)
        elif said in kinds:
            self.possible = {state for state in self.possible if state.kind in kinds[said]}
        elif said in (Outcome.UNSURE, Outcome.UNTRUE):
            self.possible |= self._changed(command, self.possible)

    def _changed(self, command: Effect, states: set[State]) -> set[State]:
        return {after for state in states if (after := command(state)) is not None}

    def likely(self) -> Kind:
        """What a person would take it for."""
        return min((state.kind for state in self.possible), key=lambda kind: kind.value)

    def spell(self) -> str:
        """What it may be."""
        return _spell(self.possible)


def _spell(states: set[State]) -> str:
    return " or ".join(sorted(f"{state.kind.name.lower()} × {state.size}" for state in states))
