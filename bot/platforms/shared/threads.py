"""Threads that the bot takes part in: their messages hold the conversation, and are read when needed."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from cachetools import LRUCache

from bot.core.chat.message import Place, Turn
from bot.platforms.shared.platform import Refused
from bot.platforms.shared.sanitize import JOINER
from bot.platforms.shared.sealing import Sealer

THREADS_KEPT, TURNS_KEPT = 1000, 100
QUESTION = 4000
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ThreadMessage:
    """A message of a thread: its `id`, whether it is `ours` (the bot wrote it or is mentioned in it), its
    Markdown, and the `event` that its metadata holds (`answer_event`, `waiting_event`)."""

    id: str
    ours: bool
    markdown: str
    event: Mapping[str, Any]


class Threads(ABC):
    """`token` is the bot's, `bot` is the bot's own user id, known once it has introduced itself."""

    def __init__(self, token: str) -> None:
        self._sealer = Sealer(token)
        self._turns: LRUCache[Key, list[Turn]] = LRUCache(THREADS_KEPT)
        self._foreign: LRUCache[Key, bool] = LRUCache(THREADS_KEPT)
        self._reading: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()
        """Held while a thread is read: of many who ask at once only one reads it."""
        self.bot = ""

    @abstractmethod
    async def fetch(self, channel: str, thread: str) -> Sequence[ThreadMessage]:
        """The messages of a thread, oldest first, or at least the one named; Refused when they cannot be read
        now."""

    async def find_waiting(self, channel: str, message: str) -> Mapping[str, Any] | None:
        """The `waiting_event` of a message, if it still waits; with its `line`, unless that was sealed with
        another token."""
        try:
            messages = await self.fetch(channel, message)
        except Refused as error:
            if error.gone:
                return None
            raise
        found = [one.event for one in messages if one.id == message and one.event.get("kind") == "waiting"]
        if not found:
            return None
        event = found[0]
        if "sealed" not in event:  # written before lines were sealed
            return event
        line = self._sealer.open(str(event["sealed"]))
        return event if line is None else {**event, "line": line}

    def waiting_event(self, line: str, user: str, thread: str, key: str, team: str) -> dict[str, Any]:
        """The metadata of a message that waits for a model: who asked what where. The line is sealed: it may
        hold a system prompt, and others can read metadata."""
        sealed = self._sealer.seal(line)
        return {"kind": "waiting", "sealed": sealed, "user": user, "thread": thread, "key": key, "team": team}

    def join(self, channel: str, thread: str, *, new: bool = False) -> None:
        """The bot takes part from now on; a `new` thread has no messages yet."""
        self._foreign.pop((channel, thread), None)
        if new:
            self._remember((channel, thread), [])

    async def takes_part(self, channel: str, thread: str) -> bool:
        """Whether the bot started it, wrote in it or was mentioned in it."""
        key = (channel, thread)
        if key in self._turns:
            return True
        if key in self._foreign:
            return False
        async with self._reading.setdefault(key, asyncio.Lock()):
            known = key in self._turns or key in self._foreign
            return key in self._turns if known else await self._read(key)

    async def turns(self, place: Place) -> Sequence[Turn]:
        """Questions and answers so far, oldest first."""
        key = (place.channel, place.thread)
        if place.thread and key not in self._turns:
            await self._read(key)
        return list(self._turns.get(key, []))

    def add(self, place: Place, question: str, answer: str, workload: str) -> None:
        """Add a question and its answer."""
        turns = self._turns.get((place.channel, place.thread), [])
        turns += [Turn("user", question), Turn("assistant", answer, workload)]
        self._remember((place.channel, place.thread), turns)

    def _remember(self, key: Key, turns: list[Turn]) -> None:
        self._turns[key] = turns[-TURNS_KEPT:]

    async def _read(self, key: Key) -> bool:
        try:
            messages = await self.fetch(*key)
        except Refused:
            return False  # asked again next time
        ours = any(message.ours for message in messages)
        if ours:
            self._remember(key, _conversation(messages))
        else:
            self._foreign[key] = True
        return ours


def answer_event(question: str, workload: str, page: int) -> dict[str, Any]:
    """The metadata of an answer's message."""
    return {"kind": "answer", "question": question[:QUESTION], "workload": workload, "page": page}


def _conversation(messages: Iterable[ThreadMessage]) -> list[Turn]:
    """The turns that the messages hold; a long answer is several messages."""
    turns: list[Turn] = []
    for message in messages:
        event = message.event
        if event.get("kind") != "answer":
            continue
        if event.get("page") and turns:
            turns[-1] = Turn("assistant", turns[-1].content + _said(message), turns[-1].workload)
        else:
            answer = Turn("assistant", _said(message), str(event["workload"]))
            turns += [Turn("user", str(event["question"])), answer]
    return turns


def _said(message: ThreadMessage) -> str:
    """What the model said, without what made it harmless and nobody sees."""
    return message.markdown.replace(JOINER, "")
