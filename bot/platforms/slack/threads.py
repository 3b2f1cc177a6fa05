"""Threads that the bot takes part in: the thread is the memory, read back when it is not known."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from bot.core.message import Place, Turn
from bot.platforms.slack.web import SlackRefused, Web

THREADS_KEPT, TURNS_KEPT = 1000, 100
PAGE, PAGES = 200, 5
QUESTION = 4000
Key = tuple[str, str]


class Threads:
    """`bot` is the bot's own user id, known once it has introduced itself."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._turns: OrderedDict[Key, list[Turn]] = OrderedDict()
        self._others: OrderedDict[Key, None] = OrderedDict()
        self.bot = ""

    def join(self, channel: str, thread: str, *, new: bool = False) -> None:
        """The bot takes part from now on; nobody has spoken yet in a `new` thread."""
        self._others.pop((channel, thread), None)
        if new:
            self._keep((channel, thread), [])

    async def takes_part(self, channel: str, thread: str) -> bool:
        """The bot began it, spoke in it or was called in it."""
        key = (channel, thread)
        if key in self._turns:
            return True
        if key in self._others:
            return False
        return await self._read(key)

    async def turns(self, place: Place) -> Sequence[Turn]:
        """Questions and answers so far, oldest first."""
        key = (place.channel, place.thread)
        if place.thread and key not in self._turns:
            await self._read(key)
        return list(self._turns.get(key, []))

    def add(self, place: Place, question: str, answer: str, workload: str) -> None:
        """A question was answered."""
        turns = self._turns.get((place.channel, place.thread), [])
        turns += [Turn("user", question), Turn("assistant", answer, workload)]
        self._keep((place.channel, place.thread), turns)

    def _keep(self, key: Key, turns: list[Turn]) -> None:
        self._turns[key] = turns[-TURNS_KEPT:]
        self._turns.move_to_end(key)
        while len(self._turns) > THREADS_KEPT:
            self._turns.popitem(last=False)

    async def _read(self, key: Key) -> bool:
        try:
            messages = await self._messages(key)
        except SlackRefused:
            return False  # asked again next time
        ours = any(
            message.get("user") == self.bot or f"<@{self.bot}" in message.get("text", "")
            for message in messages
        )
        if ours:
            self._keep(key, _conversation(messages))
        else:
            self._others[key] = None
            while len(self._others) > THREADS_KEPT:
                self._others.popitem(last=False)
        return ours

    async def _messages(self, key: Key) -> list[dict[str, Any]]:
        channel, thread = key
        found: list[dict[str, Any]] = []
        cursor = None
        for _ in range(PAGES):
            page = await self._web.ask(
                "conversations.replies",
                channel=channel,
                ts=thread,
                limit=PAGE,
                cursor=cursor,
                include_all_metadata=True,
            )
            found += page.get("messages", [])
            cursor = page.get("response_metadata", {}).get("next_cursor")
            if not cursor:
                break
        return found


def answer_event(question: str, workload: str, page: int) -> dict[str, Any]:
    """What an answer's message remembers of itself."""
    return {"kind": "answer", "question": question[:QUESTION], "workload": workload, "page": page}


def _conversation(messages: list[dict[str, Any]]) -> list[Turn]:
    """The turns that the messages hold; a long answer is several messages."""
    turns: list[Turn] = []
    for message in messages:
        event = message.get("metadata", {}).get("event_payload", {})
        if event.get("kind") != "answer":
            continue
        text = _markdown(message)
        if event.get("page") and turns:
            turns[-1] = Turn("assistant", turns[-1].content + text, turns[-1].workload)
        else:
            turns += [Turn("user", event["question"]), Turn("assistant", text, event["workload"])]
    return turns


def _markdown(message: dict[str, Any]) -> str:
    parts = [block["text"] for block in message.get("blocks", []) if block.get("type") == "markdown"]
    return "".join(parts) or str(message.get("text", ""))
