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
    """The names of the workloads that it offers."""
    url: str
    """Its address outside of the cluster; empty: it has none."""
    reach: str
    """A command line that makes it reachable from a person's own machine."""
    owner: str
    """The user id of the person who started it."""


class WebUiHost(Protocol):
    """Runs Open WebUI. UserError when the cluster cannot be reached or refuses."""

    def web_ui(self) -> WebUi | None:
        """The namespace's Open WebUI as last seen; None if there is none."""

    async def apply_web_ui(self, names: Sequence[str], owner: str) -> None:
        """Start Open WebUI, or connect it to exactly these workloads; `owner` is a user id."""

    async def remove_web_ui(self) -> None:
        """Stop Open WebUI; chats and accounts stay."""
