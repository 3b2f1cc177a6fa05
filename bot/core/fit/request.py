"""What a planner is asked, one way to start a model, and the planner's verdict."""

from dataclasses import dataclass

from bot.core.chat.text import Text
from bot.core.deployment.workload import Spec
from bot.core.fit.catalog import CatalogEntry
from bot.core.fit.gpu import Quantization
from bot.core.fit.shape import Shape
from bot.core.fit.vram import Fit, Setup

GRAPHS_UTILISATION = 0.9
"""CUDA graphs live outside vLLM's budget: above this share, or with less than twice the cache that
one longest request needs, the model is started with --enforce-eager."""


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What a person asked for. None leaves the choice to the planner."""

    model: str
    """The model's key, alias or repository, as it was typed."""
    tensor_parallel_size: int | None = None
    """GPUs of one replica."""
    quantization: Quantization | None = None
    """The format of the weights."""
    max_model_len: int | None = None
    """The context in tokens."""
    gpu_memory_utilization: float = 0.9
    """The share of each GPU's memory that the engine may use, above 0 up to 1."""
    shape: Shape | None = None
    """The shape of a repository that is not in the catalog; None: the model is in the catalog."""


@dataclass(frozen=True, slots=True)
class Option:
    """One way to start a model."""

    entry: CatalogEntry
    """The model."""
    setup: Setup
    """On how many GPUs, in which format and with which context."""
    fit: Fit
    """Whether that fits, and what memory it takes."""


@dataclass(frozen=True, slots=True)
class PlanResult:
    """The planner's verdict about a request."""

    option: Option
    """The best way to start what was asked for, whether or not it fits."""
    reasons: tuple[Text, ...]
    """Why it cannot be started, the weightiest first; empty: it can."""
    alternatives: tuple[Option, ...]
    """At most three other ways that fit, the nearest to the request first; empty if the request fits."""

    @property
    def fits(self) -> bool:
        """It can be started."""
        return not self.reasons


def spec_of(option: Option, name: str, replicas: int, shape: Shape | None = None) -> Spec:
    """The spec of a deployment that starts a model in this way; the option must fit.

    `shape` is that of a model that is not in the catalog, to be stored with it; None for any other."""
    setup, fit = option.setup, option.fit
    repo = option.entry.repo_for(setup.quantization)
    assert repo is not None, "a verdict that fits has a repository"
    tight = fit.kv_cache_tokens < 2 * setup.max_model_len
    return Spec(
        name=name,
        model=option.entry.key,
        repo=repo,
        quantization=setup.quantization.value,
        tensor_parallel_size=setup.tensor_parallel_size,
        max_model_len=setup.max_model_len,
        shape=shape,
        gpu_memory_utilization=setup.gpu_memory_utilization,
        enforce_eager=tight or setup.gpu_memory_utilization > GRAPHS_UTILISATION,
        kv_cache_tokens=fit.kv_cache_tokens,
        weights_gib=round(fit.weights_gib * setup.tensor_parallel_size, 2),
        replicas=replicas,
    )
