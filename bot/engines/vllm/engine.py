"""The engine vLLM: its YAML, what it adds to a pod, and its progress while it starts."""

from math import ceil
from pathlib import Path
from typing import Any

from bot import MANIFESTS
from bot.core.deployment.manifest import named
from bot.core.deployment.workload import Spec
from bot.core.fit.gpu import FORMATS, Quantization
from bot.core.ports import Progress
from bot.engines.vllm.progress import progress

Json = dict[str, Any]

MANIFEST = MANIFESTS / "engines" / "vllm.yaml"
SHARED_MEMORY_VOLUME = "shm"
SHARED_MEMORY_GIB = 4
"""Size of /dev/shm with tensor parallelism; NCCL fails with the usual 64 MiB."""
PROCESS_GIB, SHARD_GIB = 8, 5
"""Host memory: vLLM itself, and the largest shard of weights that is read at once."""


class Vllm:
    """An Engine; `manifest` is another file than the usual one in tests."""

    name = "vllm"
    container = "vllm"

    def __init__(self, manifest: Path = MANIFEST) -> None:
        self.manifest = manifest

    def lay_over(self, pod: Json, spec: Spec) -> None:
        """Put the model's arguments and resources into the container; /dev/shm only if GPUs share work.

        UserError if the file has no such container."""
        container = named(pod["containers"], self.container, "container", self.manifest)
        container["args"] = arguments(container["args"], spec)
        container["resources"] = resources(spec)
        if spec.tensor_parallel_size == 1:
            pod["volumes"] = _without_shared_memory(pod["volumes"])
            container["volumeMounts"] = _without_shared_memory(container["volumeMounts"])

    def progress(self, log: str, weights_gib: float) -> Progress | None:
        """The last sign of progress in the end of its log; None if there is none."""
        return progress(log, weights_gib)


def _without_shared_memory(volumes: list[Json]) -> list[Json]:
    return [volume for volume in volumes if volume["name"] != SHARED_MEMORY_VOLUME]


def arguments(template: list[str], spec: Spec) -> list[str]:
    """The arguments of `vllm serve`: those of the YAML, with the model's own values."""
    own = {
        "--served-model-name": spec.name,
        "--tensor-parallel-size": str(spec.tensor_parallel_size),
        "--max-model-len": str(spec.max_model_len),
        "--gpu-memory-utilization": str(spec.gpu_memory_utilization),
    }
    flags = [argument.partition("=") for argument in template if argument.startswith("--")]
    line = [spec.repo, *(f"{n}={own.get(n, value)}" if eq else n for n, eq, value in flags)]
    if method := FORMATS[Quantization(spec.quantization)].flag:
        line.append(f"--quantization={method}")  # 0.8.5 would choose GPTQ kernels a V100 lacks
    if spec.enforce_eager:
        line.append("--enforce-eager")
    return line


def resources(spec: Spec) -> Json:
    """Host memory: weights pass through it shard by shard; a memory-backed /dev/shm counts too."""
    tp = spec.tensor_parallel_size
    shared = SHARED_MEMORY_GIB if tp > 1 else 0
    request = 6 + min(SHARD_GIB, ceil(spec.weights_gib))
    limit = max(request, ceil(spec.weights_gib * 0.6) + PROCESS_GIB) + shared
    gpus = {"nvidia.com/gpu": str(tp)}
    return {
        "requests": {"cpu": "2", "memory": f"{request}Gi", **gpus},
        "limits": {"memory": f"{limit}Gi", **gpus},
    }
