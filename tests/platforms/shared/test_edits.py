"""Edits of a message: the latest state is what stands there in the end, whatever was to come before it."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bot.platforms.shared import edits as edits_module
from bot.platforms.shared.edits import Edits, Payload
from tests.conftest import eventually, settle


class Board(Edits):
    """A platform whose messages are written here; `room` edits may be sent now, and one that says `slow`
    takes until `go_on`."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[str] = []
        self.room = 0
        self.asked = 0
        self.go_on = asyncio.Event()

    async def apply(self, channel: str, message: str, payload: Payload) -> bool:
        if payload["text"] == "slow":
            await self.go_on.wait()
        self.shown.append(payload["text"])
        return True

    def try_acquire(self, channel: str) -> bool:
        self.asked += 1
        self.room -= 1
        return self.room >= 0

    async def acquire(self, channel: str) -> None:
        """There is always room for the last state."""


@pytest_asyncio.fixture
async def board(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Board]:
    monkeypatch.setattr(edits_module, "EDIT_SECONDS", 0.001)
    board = Board()
    yield board
    board.close()


async def test_states_that_are_passed_are_skipped(board: Board) -> None:
    for state in ("one", "two", "three"):
        board.schedule("c", "m", {"text": state})
    board.room = 1
    await eventually(lambda: board.shown)
    assert board.shown == ["three"]


async def test_a_state_that_waits_for_room_does_not_come_after_the_last_one(board: Board) -> None:
    board.schedule("c", "m", {"text": "older"})
    await eventually(lambda: board.asked > 1)  # it waits
    await board.edit_now("c", "m", {"text": "last"})
    board.room, asked = 9, board.asked
    board.schedule("c", "other", {"text": "of another message"})
    await eventually(lambda: board.asked > asked and len(board.shown) == 2)
    assert board.shown == ["last", "of another message"]


async def test_the_last_state_waits_for_an_older_one_that_is_under_way(board: Board) -> None:
    board.room = 1
    board.schedule("c", "m", {"text": "slow"})
    await eventually(lambda: board.asked)
    last = asyncio.create_task(board.edit_now("c", "m", {"text": "last"}))
    await settle()
    board.go_on.set()
    await last
    assert board.shown == ["slow", "last"]
