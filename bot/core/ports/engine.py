"""What the bot needs to know of an engine, the server in a pod that runs a model; bot/engines/ has them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bot.core.chat.text import Text
from bot.core.deployment.workload import Phase, Spec

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a start is."""

    phase: Phase
    """Of the workload, as the log shows it: downloading or loading."""
    text: Text
    """In words, for the card."""


class Engine(Protocol):
    """A kind of model server: where its YAML is, what it adds to a pod, and how to read its log."""

    @property
    def name(self) -> str:
        """What people call it: `vllm`."""

    @property
    def container(self) -> str:
        """The name of its container in a pod; state and log are those of this container."""

    @property
    def manifest(self) -> Path:
        """The YAML file of its objects, which can be applied by hand."""

    def lay_over(self, pod: Json, spec: Spec) -> None:
        """Change a pod's `spec` from that file so that it runs this model: arguments, resources, volumes.

        UserError if the file lacks what it needs."""

    def progress(self, log: str, weights_gib: float) -> Progress | None:
        """The last sign of progress in the end of its log; None if there is none.

        `weights_gib` is how much there is to download, in GiB."""
