"""The engine vLLM: its YAML, what it adds to a pod, and its progress while it starts."""

from math import ceil
from pathlib import Path
from typing import Any

from bot import MANIFESTS
from bot.core.deployment.manifest import named
from bot.core.deployment.workload import Spec
from bot.core.fit.gpu import FORMATS, Quantization
from bot.core.ports import Progress
from bot.engines.vllm.progress import download_seconds, progress

Json = dict[str, Any]

MANIFEST = MANIFESTS / "engines" / "vllm.yaml"
SHARED_MEMORY_GIB = 4
"""Size of /dev/shm in the YAML; what is written there counts as memory of the container."""
SERVER_GIB, WORKER_GIB = 2, 3
"""Host memory that stays in use: the server, and for each GPU a process with its CUDA context and 1 GiB of
swap space (`--swap-space=1`)."""
MILLICPUS = 250
"""CPU for each GPU: what a model needs while nobody asks it. One that answers keeps a core busy for each GPU,
which it gets from those that are free: there is no limit, so that it is never throttled."""


class Vllm:
    """An Engine; `manifest` is another file than the usual one in tests."""

    name = "vllm"
    container = "vllm"

    def __init__(self, manifest: Path = MANIFEST) -> None:
        self.manifest = manifest

    def lay_over(self, pod: Json, spec: Spec) -> None:
        """Put the model's arguments and resources into the container; UserError if the file has none."""
        container = named(pod["containers"], self.container, "container", self.manifest)
        container["args"] = arguments(container["args"], spec)
        container["resources"] = resources(spec)

    def progress(self, log: str, weights_gib: float) -> Progress | None:
        """The last sign of progress in the end of its log; None if there is none."""
        return progress(log, weights_gib)

    def download_seconds(self, log: str) -> float | None:
        """How long it downloaded weights, by its whole log; None if that does not tell."""
        return download_seconds(log)


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
    """What the container asks for, by the size of the model.

    Memory is requested for what stays in use. The limit has room for /dev/shm and for all the weights, which
    pass through the page cache: with less of it the process of each GPU would read them from the volume
    again, and a file of another format than safetensors is in memory whole while it is read."""
    gpus = spec.tensor_parallel_size
    request = SERVER_GIB + WORKER_GIB * gpus
    limit = request + ceil(spec.weights_gib) + SHARED_MEMORY_GIB
    count = {"nvidia.com/gpu": str(gpus)}
    return {
        "requests": {"cpu": f"{MILLICPUS * gpus}m", "memory": f"{request}Gi", **count},
        "limits": {"memory": f"{limit}Gi", **count},
    }
