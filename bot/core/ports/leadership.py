"""Chooses which of several processes does the background work."""

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

Work = Callable[[], Coroutine[Any, Any, None]]
"""Starts the work at each call. The work never ends by itself: it is cancelled when it must end."""
Gone = Callable[[str], Coroutine[Any, Any, None]]
"""Is told the pod or machine of the process that led until now."""


class Leadership(Protocol):
    """At most one process leads at any time."""

    @property
    def holder(self) -> str:
        """The pod or machine of the process that leads, as last seen; empty if none does."""

    async def lead(self, work: Work, otherwise: Work, gone: Gone | None = None) -> None:
        """Do `work` while this process leads, and `otherwise` while another one does; it never ends. A
        process that will not lead itself calls `gone` once, when it has seen that none does."""
