"""Stores what belongs to no single workload: the state of alerts."""

from typing import Protocol


class StateStore(Protocol):
    """Stores one text, which survives a restart. UserError when the cluster cannot be reached."""

    async def load_state(self) -> str:
        """The text that was saved last; empty if there is none."""

    async def save_state(self, text: str) -> None:
        """Store a text of up to 1 MiB, and forget the one before."""

    async def set_state_aside(self, text: str) -> None:
        """Store a text that the bot cannot read beside the other one, so that an admin can look at it."""
