"""GPU models by name: memory, compute capability, and what each quantisation needs."""

from enum import StrEnum
from typing import Annotated, NamedTuple

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError


class Gpu(NamedTuple):
    """A GPU model."""

    name: str
    """What people type: `v100-16gb`."""
    label: str
    """What people read: `V100`."""
    memory_gib: float
    """The total memory that CUDA reports, in GiB."""
    marketed_gb: int
    """The memory by which it is sold, in GB."""
    capability: float
    """Its CUDA compute capability: 7.0 for a V100."""
    per_node: int
    """How many of them a usual node has; a model stays within one node."""


# Usable memory: 15.77 GiB on a V100-16GB (facts from vLLM logs); the others as torch reports
# `total_memory` of these cards in public vLLM logs and issues. Capabilities: NVIDIA's CUDA GPU list.
PROFILES = {
    gpu.name: gpu
    for gpu in (
        Gpu("v100-16gb", "V100", 15.77, 16, 7.0, 4),
        Gpu("v100-32gb", "V100-32GB", 31.73, 32, 7.0, 4),
        Gpu("t4", "T4", 14.58, 16, 7.5, 4),
        Gpu("l4", "L4", 22.03, 24, 8.9, 4),
        Gpu("a10g", "A10G", 22.06, 24, 8.6, 4),
        Gpu("rtx-3090", "RTX 3090", 23.69, 24, 8.6, 4),
        Gpu("rtx-4090", "RTX 4090", 23.65, 24, 8.9, 4),
        Gpu("a100-40gb", "A100-40GB", 39.39, 40, 8.0, 8),
        Gpu("a100-80gb", "A100-80GB", 79.25, 80, 8.0, 8),
        Gpu("h100-80gb", "H100-80GB", 79.10, 80, 9.0, 8),
        Gpu("h200", "H200", 139.80, 141, 9.0, 8),
    )
}


def known_gpu(name: str) -> str:
    """The name of a profile in lower case; a pydantic error that lists them all if there is none."""
    if name.lower() not in PROFILES:
        raise PydanticCustomError("enum", "one of {expected}", {"expected": ", ".join(PROFILES)})
    return name.lower()


GpuName = Annotated[str, AfterValidator(known_gpu)]
"""The name of one of the PROFILES."""


class Quantization(StrEnum):
    """Formats of weights, by the name that people type; FORMATS says more of each."""

    NONE = "none"
    """fp16, as published."""
    GPTQ = "gptq"
    """GPTQ with 4 bits."""
    GPTQ_INT8 = "gptq-int8"
    """GPTQ with 8 bits."""
    AWQ = "awq"
    """AWQ with 4 bits."""
    BITSANDBYTES = "bitsandbytes"
    """nf4 by bitsandbytes, made from fp16 while loading."""
    GGUF = "gguf"
    """GGUF, as Q4_K_M."""
    FP8 = "fp8"
    """8-bit floating point."""


class Format(NamedTuple):
    """What a quantisation means for memory, and for the GPU."""

    label: str
    """What people read: `GPTQ 4-bit`."""
    bytes_per_weight: float
    """Bytes that one weight of a linear layer takes, scales included."""
    capability: float
    """The compute capability that vLLM's kernels for it need at least."""
    flag: str
    """The value of vLLM's `--quantization`; empty: the flag is left out."""


# Minimum capability: vLLM 0.8.5.post1 `get_min_capability()` of each config class. Bytes: fp16 2;
# GPTQ/AWQ 4-bit with group size 128 measured 0.52, 8-bit 1.03; bitsandbytes nf4 0.5 plus one fp32
# absmax per 64 weights; GGUF as Q4_K_M (4.85 bits); fp8 one byte plus scales.
FORMATS = {
    Quantization.NONE: Format("fp16", 2.0, 0.0, ""),
    Quantization.GPTQ: Format("GPTQ 4-bit", 0.52, 6.0, "gptq"),
    Quantization.GPTQ_INT8: Format("GPTQ 8-bit", 1.03, 6.0, "gptq"),
    Quantization.AWQ: Format("AWQ", 0.52, 7.5, "awq"),
    Quantization.BITSANDBYTES: Format("bitsandbytes", 0.5625, 7.0, "bitsandbytes"),
    Quantization.GGUF: Format("GGUF", 0.61, 6.0, "gguf"),
    Quantization.FP8: Format("FP8", 1.01, 8.0, "fp8"),
}
