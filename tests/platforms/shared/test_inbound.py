"""Requests of one person: how many are at work, and what becomes of the others."""

import asyncio
import gc
from functools import partial
from typing import Any

from bot.core.chat.message import Message, Place, User
from bot.core.chat.text import Say
from bot.platforms.shared.inbound import OF_A_PERSON, TASKS_OF_A_PERSON, Inbound
from bot.platforms.shared.presenter import Origin, Presenter

nothing: Any = None


class Deaf(Inbound):
    """Takes requests of a chat that answers nobody."""

    async def person(self, user: str, team: str) -> User:
        raise NotImplementedError

    async def resolve_place(self, place: Place, user: User, origin: Origin) -> tuple[Place, Origin]:
        raise NotImplementedError

    def presenter(self, message: Message, origin: Origin, say: Say) -> Presenter:
        raise NotImplementedError


async def test_what_one_person_causes_beside_what_may_be_at_work_is_never_begun() -> None:
    inbound, go_on, begun = Deaf(nothing, nothing, nothing), asyncio.Event(), list[int]()

    async def work(number: int) -> None:
        begun.append(number)
        await go_on.wait()

    for number in range(TASKS_OF_A_PERSON + 3):
        inbound.start_for("eve", partial(work, number))
    inbound.start_for("ada", partial(work, -1))
    await asyncio.sleep(0)
    gc.collect()  # a coroutine that nobody began would be complained of here
    assert begun == [*range(OF_A_PERSON), -1]
    go_on.set()
    await inbound.close()
