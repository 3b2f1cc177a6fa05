"""What is asked for, one way to start it, and the verdict."""

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
    """What was asked for; None leaves it to us. `shape` is for a model the catalog does not know."""

    model: str
    tensor_parallel_size: int | None = None
    quantization: Quantization | None = None
    max_model_len: int | None = None
    gpu_memory_utilization: float = 0.9
    shape: Shape | None = None


@dataclass(frozen=True, slots=True)
class Option:
    """One way to start a model."""

    card: CatalogEntry
    setup: Setup
    fit: Fit


@dataclass(frozen=True, slots=True)
class PlanResult:
    """The best way to start what was asked for, every reason against it, and what would fit."""

    option: Option
    reasons: tuple[Text, ...]
    alternatives: tuple[Option, ...]

    @property
    def fits(self) -> bool:
        """It can be started."""
        return not self.reasons


def spec_of(option: Option, name: str, replicas: int, shape: Shape | None = None) -> Spec:
    """What the cluster is to run; `shape` is remembered for a model the catalog does not know."""
    setup, found = option.setup, option.fit
    repo = option.card.repo_for(setup.quantization)
    assert repo is not None, "a verdict that fits has a repository"
    tight = found.kv_cache_tokens < 2 * setup.max_model_len
    return Spec(
        name=name,
        model=option.card.key,
        repo=repo,
        quantization=setup.quantization.value,
        tensor_parallel_size=setup.tensor_parallel_size,
        max_model_len=setup.max_model_len,
        shape=shape,
        gpu_memory_utilization=setup.gpu_memory_utilization,
        enforce_eager=tight or setup.gpu_memory_utilization > GRAPHS_UTILISATION,
        kv_cache_tokens=found.kv_cache_tokens,
        weights_gib=round(found.weights_gib * setup.tensor_parallel_size, 2),
        replicas=replicas,
    )
