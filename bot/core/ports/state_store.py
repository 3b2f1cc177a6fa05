"""Where a text is kept that is about no workload alone: what admins were told."""

from typing import Protocol


class StateStore(Protocol):
    """One text, which outlives the bot. UserError when the cluster is away."""

    async def load_state(self) -> str:
        """The text that was saved last; empty if none was."""

    async def save_state(self, text: str) -> None:
        """Keep a text, of up to 1 MiB, in the place of the one before."""

    async def set_state_aside(self, text: str) -> None:
        """Keep a text that nobody can read, beside the other, for whoever looks into it."""
