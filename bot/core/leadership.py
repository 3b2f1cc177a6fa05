"""Which of several processes does the background work."""

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

Work = Callable[[], Coroutine[Any, Any, None]]
"""Starts the work anew at each call; it goes on for ever, and is cancelled when its time is over."""


class Leadership(Protocol):
    """At most one process leads at any time."""

    @property
    def holder(self) -> str:
        """The pod or machine of the process that leads, as last seen; empty if none does."""

    async def lead(self, work: Work, otherwise: Work) -> None:
        """Do `work` while we lead, and `otherwise` while somebody else does; for ever."""


class AlwaysLeader:
    """For a cluster that no other process can see, such as the simulator's."""

    holder = ""

    async def lead(self, work: Work, otherwise: Work) -> None:
        """Do `work`, for ever."""
        await work()
