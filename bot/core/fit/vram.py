"""Does a model fit on a GPU? Arithmetic and rules, nothing else.

The memory model is vLLM's own (V0 engine, `worker.py`, `determine_num_available_blocks`):
KV cache = total memory x utilisation - weights - peak activations - other (NCCL) memory, per GPU.
"""

from dataclasses import dataclass

from bot.core.chat.text import Text, t
from bot.core.chat.units import Tokens
from bot.core.fit.gpu import FORMATS, Format, Gpu, Quantization
from bot.core.fit.shape import Shape

GIB = 2**30
"""Bytes of a GiB."""
FP16 = 2
"""Bytes of an fp16 number."""
MAX_NUM_SEQS = 64
"""Requests that a model answers at the same time at most (`--max-num-seqs`)."""
NO_CHUNKED_PREFILL_CAP = 32768
"""Longest context below capability 8.0: above it vLLM's V0 engine turns chunked prefill on, which
aborts the process on a V100 (vLLM 0.8.5 `engine/arg_utils.py`, issue 8024)."""
MARGIN = 1.05
"""A verdict needs 5 % more KV cache than one longest request: activations are an estimate."""
NCCL_GIB = {False: 0.15, True: 0.45}
"""GiB per GPU outside of torch, without and with tensor parallelism (an estimate)."""
ACTIVATION_SLACK = 1.1
"""The factor by which the estimate of activations is raised."""
GPTQ_GROUP = 128
"""Weights that share a scale in GPTQ."""
ABOUT_MEMORY = frozenset({"fit.weights", "fit.cache"})
"""Reasons that a bigger GPU, or more of them, would remove."""


@dataclass(frozen=True, slots=True)
class Setup:
    """How a model would be started."""

    gpu: Gpu
    """The GPUs that it would run on."""
    tensor_parallel_size: int
    """How many of them one replica takes."""
    quantization: Quantization = Quantization.NONE
    """The format of its weights."""
    max_model_len: int = 8192
    """The context in tokens."""
    gpu_memory_utilization: float = 0.9
    """The share of each GPU's memory that the engine may use, above 0 up to 1."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether a setup fits, and the memory that it takes on each GPU."""

    weights_gib: float
    """GiB of weights per GPU."""
    activation_gib: float
    """GiB of activations per GPU at their peak."""
    kv_cache_gib: float
    """GiB per GPU that are left for the KV cache; 0 if nothing is."""
    kv_cache_tokens: int
    """Tokens that this KV cache holds; each GPU holds its heads' part of the same tokens."""
    reasons: tuple[Text, ...]
    """Everything that prevents it; empty: it fits."""

    @property
    def fits(self) -> bool:
        """Nothing prevents it."""
        return not self.reasons


def fit(shape: Shape, setup: Setup) -> Fit:
    """The memory that a model of this shape takes per GPU, and everything that prevents this setup."""
    weights = weights_bytes(shape, setup) / GIB
    activation = activation_bytes(shape, setup) / GIB
    budget = setup.gpu.memory_gib * setup.gpu_memory_utilization
    cache = budget - weights - activation - NCCL_GIB[setup.tensor_parallel_size > 1]
    tokens = max(0, int(cache * GIB / kv_bytes_per_token(shape, setup.tensor_parallel_size)))
    illegal = (*_format_rules(setup), *_split_rules(shape, setup), *_length_rules(shape, setup))
    memory = _memory_rules(setup, weights, budget, tokens)
    return Fit(weights, activation, max(0.0, cache), tokens, (*illegal, *memory))


def weights_bytes(shape: Shape, setup: Setup) -> float:
    """Bytes of weights on each GPU."""
    linear = shape.linear_weights * FORMATS[setup.quantization].bytes_per_weight
    return (linear + shape.embedding_weights * FP16) / setup.tensor_parallel_size


def activation_bytes(shape: Shape, setup: Setup) -> float:
    """Peak bytes of activations in vLLM's profiling run, which prefills the longest batch.

    Without chunked prefill that batch is max(max_model_len, 2048) tokens (vLLM 0.8.5 `config.py`,
    `max_num_batched_tokens`); the sampler's logits are fp32, about three copies; GPTQ dequantises
    one MLP matrix at a time. The form is an estimate; its 10 % slack is ACTIVATION_SLACK."""
    tp = setup.tensor_parallel_size
    batch = max(setup.max_model_len, 2048)
    heads = shape.num_attention_heads + 2 * max(shape.num_key_value_heads, tp)
    per_token = 2 * shape.intermediate_size / tp + heads * shape.head_dim / tp + 4 * shape.hidden_size
    total = batch * per_token * FP16 * ACTIVATION_SLACK + MAX_NUM_SEQS * shape.vocab_size * 4 * 3
    if FORMATS[setup.quantization].flag == "gptq":
        total += shape.hidden_size * shape.intermediate_size * FP16 / tp
    return total


def kv_bytes_per_token(shape: Shape, tp: int) -> int:
    """Bytes of KV cache per token on each GPU; heads are replicated when there are fewer than GPUs
    (vLLM 0.8.5 `config.py` get_num_kv_heads, `cache_engine.py`)."""
    heads = max(1, shape.num_key_value_heads // tp)
    return 2 * shape.num_hidden_layers * heads * shape.head_dim * FP16


def legal_sizes(shape: Shape, gpu: Gpu, quantization: Quantization) -> list[int]:
    """The tensor parallel sizes that split the model evenly over GPUs of one node, in ascending order."""
    sizes = range(1, gpu.per_node + 1)
    return [tp for tp in sizes if not _split_rules(shape, Setup(gpu, tp, quantization))]


def context_cap(shape: Shape, gpu: Gpu) -> int:
    """The longest context in tokens that the model and the engine allow, whatever the memory."""
    if gpu.capability < 8.0:
        return min(shape.max_position_embeddings, NO_CHUNKED_PREFILL_CAP)
    return shape.max_position_embeddings


def capability_reason(form: Format, gpu: Gpu) -> Text | None:
    """Why the GPU cannot run a format of weights; None if it can."""
    if gpu.capability >= form.capability:
        return None
    return t("fit.format", format=form.label, gpu=gpu.label, needs=form.capability, has=gpu.capability)


def _format_rules(setup: Setup) -> list[Text]:
    reason = capability_reason(FORMATS[setup.quantization], setup.gpu)
    return [reason] if reason else []


def _split_rules(shape: Shape, setup: Setup) -> list[Text]:
    tp, gpu = setup.tensor_parallel_size, setup.gpu
    if tp > gpu.per_node:
        return [t("fit.node", tp=tp, gpus=gpu.per_node)]
    if shape.num_attention_heads % tp:
        return [t("fit.heads", tp=tp, heads=shape.num_attention_heads)]
    if shape.num_key_value_heads % tp and tp % shape.num_key_value_heads:
        return [t("fit.kv_heads", tp=tp, heads=shape.num_key_value_heads)]
    if shape.intermediate_size % tp:
        return [t("fit.intermediate", tp=tp, size=shape.intermediate_size)]
    if FORMATS[setup.quantization].flag == "gptq" and not _gptq_splits(shape, tp):
        return [t("fit.gptq_group", tp=tp, group=GPTQ_GROUP)]
    return []


def _gptq_splits(shape: Shape, tp: int) -> bool:
    """Each GPU's share of a row-parallel layer must be whole groups (vLLM 0.8.5 `gptq.py`)."""
    inputs = (shape.intermediate_size, shape.num_attention_heads * shape.head_dim)
    return all(size % tp == 0 and size // tp % GPTQ_GROUP == 0 for size in inputs)


def _length_rules(shape: Shape, setup: Setup) -> list[Text]:
    length = Tokens(setup.max_model_len)
    if length > shape.max_position_embeddings:
        return [t("fit.positions", length=length, cap=Tokens(shape.max_position_embeddings))]
    if length > context_cap(shape, setup.gpu):
        cap = Tokens(NO_CHUNKED_PREFILL_CAP)
        return [t("fit.chunked", length=length, cap=cap, gpu=setup.gpu.label)]
    return []


def _memory_rules(setup: Setup, weights: float, budget: float, tokens: int) -> list[Text]:
    if weights >= budget:
        return [t("fit.weights", weights=weights, usable=budget)]
    if tokens < setup.max_model_len * MARGIN:
        return [t("fit.cache", tokens=tokens, length=Tokens(setup.max_model_len))]
    return []
