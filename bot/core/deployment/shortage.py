"""What no node has enough of for a workload."""

from bot.core.chat.text import Text, t
from bot.core.frozen import Frozen


class Shortage(Frozen):
    """A resource that a replica asks more of than any node can give it beside the GPUs that it needs."""

    resource: str
    """`cpu` or `memory`; each has sentences of its own."""
    asked: float
    """What one replica asks for, in CPUs or GiB."""
    left: float
    """The most that a node with enough GPUs can give, in the same unit."""
    node: str
    """The name of that node."""

    @property
    def text(self) -> Text:
        """The numbers in a sentence."""
        return t(f"short.{self.resource}", asked=self.asked, left=self.left, node=self.node)
