"""The embedded cluster's Open WebUI."""

from collections.abc import Sequence
from datetime import datetime

from bot.core.ports import Clock, WebUi

STARTS = 30.0


class SimulatedWebUi:
    """Ready half a minute after its start."""

    def __init__(self, clock: Clock, namespace: str) -> None:
        self._clock, self.namespace = clock, namespace
        self._web_ui: tuple[datetime, tuple[str, ...], str] | None = None

    def web_ui(self) -> WebUi | None:
        """The Open WebUI, ready half a minute after its start."""
        if self._web_ui is None:
            return None
        started, names, owner = self._web_ui
        ready = (self._clock.now() - started).total_seconds() >= STARTS
        reach = f"kubectl -n {self.namespace} port-forward service/llm-webui 8080:8080"
        return WebUi(ready, names, "", reach, owner)

    async def apply_web_ui(self, names: Sequence[str], owner: str) -> None:
        """Start it or connect it."""
        started = self._web_ui[0] if self._web_ui else self._clock.now()
        self._web_ui = (started, tuple(names), owner)

    async def remove_web_ui(self) -> None:
        """Stop it."""
        self._web_ui = None
