"""Open WebUI: the web page for talking to models, one for a namespace."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class WebUi:
    """The namespace's Open WebUI as last seen."""

    ready: bool
    """It answers."""
    connected: tuple[str, ...]
    """Names of the workloads that it knows."""
    url: str
    """Where it is reachable from outside; empty: it is not."""
    reach: str
    """A command line that makes it reachable from one's own machine."""
    owner: str
    """The user id of whoever started it."""


class WebUiHost(Protocol):
    """Runs Open WebUI. UserError when the cluster is away or refuses."""

    def web_ui(self) -> WebUi | None:
        """The namespace's Open WebUI as last seen, if there is one."""

    async def apply_web_ui(self, names: Sequence[str], owner: str) -> None:
        """Start Open WebUI, or connect it to exactly these workloads; `owner` is a user id."""

    async def remove_web_ui(self) -> None:
        """Stop Open WebUI; chats and accounts stay."""
