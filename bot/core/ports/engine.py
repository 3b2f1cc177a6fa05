"""What the bot needs to know of an engine, the server in a pod that runs a model. They are in
bot/engines/."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from bot.core.chat.text import Text
from bot.core.deployment.workload import Phase, Spec

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the start of a model is."""

    phase: Phase
    """What the log shows: downloading or loading."""
    text: Text
    """How far it is, for the card."""
    left: timedelta | None = None
    """How long that takes until it is done, if the text tells; None: it does not."""


class Engine(Protocol):
    """A kind of model server: where its YAML is, what it adds to a pod, and how to read its log."""

    @property
    def name(self) -> str:
        """What people call it: `vllm`."""

    @property
    def container(self) -> str:
        """The name of its container in a pod, whose state and log the bot reads."""

    @property
    def manifest(self) -> Path:
        """The YAML file of its objects, which can be applied by hand."""

    def lay_over(self, pod: Json, spec: Spec) -> None:
        """Change a pod's `spec` from that file so that it runs this model: arguments, resources, volumes.

        UserError if the file lacks what it needs."""

    def progress(self, log: str, weights_gib: float) -> Progress | None:
        """The progress that the last lines of its log show; None if they show none.

        `weights_gib` are the GiB that it has to download."""

    def download_seconds(self, log: str) -> float | None:
        """How long it downloaded weights, by the log of a start from its first line on; 0 if they were there.
        None if the log does not tell."""
