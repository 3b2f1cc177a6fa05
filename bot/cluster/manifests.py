"""From a spec to Kubernetes objects: the YAML files with what varies laid over them."""

import secrets
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from math import ceil

import yaml

from bot import MANIFESTS
from bot.cluster.annotations import spec_annotation, to_annotations
from bot.cluster.client import Json
from bot.core.deployment.names import object_name
from bot.core.deployment.record import Record
from bot.core.deployment.workload import Spec
from bot.core.fit.gpu import FORMATS, Quantization

FOLDER = MANIFESTS / "workloads"
MANAGED = {"app.kubernetes.io/managed-by": "llm-bot"}
WORKLOAD = "llm-bot/workload"
"""Label of everything that belongs to one model, with the name of its Deployment."""
CACHE = "llm-models"
HF_SECRET = "llm-hf-token"
SHM_GIB = 4
"""Of /dev/shm with tensor parallelism; NCCL fails with the usual 64 MiB."""
LOADING_GIB, SHARD_GIB = 8, 5
"""Host memory: vLLM itself, and the largest shard of weights that is read at once."""

Objects = dict[str, Json]


@dataclass(frozen=True, slots=True)
class WorkloadSettings:
    """What of the bot's settings ends up in manifests."""

    namespace: str = "default"
    image: str = "vllm/vllm-openai:v0.8.5.post1"
    open_webui_image: str = "ghcr.io/open-webui/open-webui:v0.6.43"
    node_selector: Mapping[str, str] = field(default_factory=dict)
    toleration: str = "nvidia.com/gpu"
    storage_class: str = ""
    cache_size: str = "200Gi"
    ingress_host: str = ""
    api_key: str = ""
    hf_token: str = ""


@cache
def _template(name: str) -> list[Json]:
    return list(yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8")))


def template(name: str, settings: WorkloadSettings) -> Objects:
    """The objects of a file by kind, in the bot's namespace and marked as the bot's."""
    objects = {thing["kind"]: thing for thing in deepcopy(_template(name))}
    for thing in objects.values():
        thing["metadata"]["namespace"] = settings.namespace
        thing["metadata"]["labels"] = dict(MANAGED)
    claim = objects["PersistentVolumeClaim"]
    if settings.storage_class:
        claim["spec"]["storageClassName"] = settings.storage_class
    return objects


def workload_objects(spec: Spec, record: Record, settings: WorkloadSettings) -> Objects:
    """Everything that one model needs; the key is new each time."""
    objects = template("vllm.yaml", settings)
    name = object_name(spec.name)
    objects["PersistentVolumeClaim"]["spec"]["resources"]["requests"]["storage"] = settings.cache_size
    for kind in ("Secret", "Service", "Deployment"):
        objects[kind]["metadata"]["name"] = name
        objects[kind]["metadata"]["labels"][WORKLOAD] = name
    objects["Secret"]["stringData"] = {"api-key": settings.api_key or secrets.token_urlsafe(24)}
    objects["Service"]["spec"]["selector"] = {WORKLOAD: name}
    deployment = objects["Deployment"]
    deployment["metadata"]["annotations"] = spec_annotation(spec) | to_annotations(record)
    deployment["spec"]["replicas"] = 0 if record.queued_since else spec.replicas
    deployment["spec"]["selector"]["matchLabels"] = {WORKLOAD: name}
    template_labels = deployment["spec"]["template"]["metadata"]["labels"]
    template_labels.update(MANAGED | {WORKLOAD: name})
    _lay_over_pod(deployment["spec"]["template"]["spec"], spec, settings)
    return objects


def _lay_over_pod(pod: Json, spec: Spec, settings: WorkloadSettings) -> None:
    container = pod["containers"][0]
    container["image"] = settings.image
    container["args"] = arguments(container["args"], spec)
    for variable in container["env"]:
        if variable["name"] == "VLLM_API_KEY":
            variable["valueFrom"]["secretKeyRef"]["name"] = object_name(spec.name)
    container["resources"] = resources(spec)
    pod["nodeSelector"] = dict(settings.node_selector)
    pod["tolerations"][0]["key"] = settings.toleration
    if spec.tensor_parallel_size == 1:
        pod["volumes"] = [volume for volume in pod["volumes"] if volume["name"] != "shm"]
        container["volumeMounts"] = [m for m in container["volumeMounts"] if m["name"] != "shm"]


def arguments(fixed: list[str], spec: Spec) -> list[str]:
    """vLLM's arguments: those of the file, with the model's own values."""
    own = {
        "--served-model-name": spec.name,
        "--tensor-parallel-size": str(spec.tensor_parallel_size),
        "--max-model-len": str(spec.max_model_len),
        "--gpu-memory-utilization": str(spec.gpu_memory_utilization),
    }
    flags = [flag.partition("=") for flag in fixed[1:]]
    line = [spec.repo, *(f"{n}={own.get(n, value)}" if eq else n for n, eq, value in flags)]
    if method := FORMATS[Quantization(spec.quantization)].flag:
        line.append(f"--quantization={method}")  # 0.8.5 would choose GPTQ kernels a V100 lacks
    if spec.enforce_eager:
        line.append("--enforce-eager")
    return line


def resources(spec: Spec) -> Json:
    """Host memory: weights pass through it shard by shard; a memory-backed /dev/shm counts too."""
    tp = spec.tensor_parallel_size
    shm = SHM_GIB if tp > 1 else 0
    request = 6 + min(SHARD_GIB, ceil(spec.weights_gib))
    limit = max(request, ceil(spec.weights_gib * 0.6) + LOADING_GIB) + shm
    gpus = {"nvidia.com/gpu": str(tp)}
    return {
        "requests": {"cpu": "2", "memory": f"{request}Gi", **gpus},
        "limits": {"memory": f"{limit}Gi", **gpus},
    }


def hf_secret(settings: WorkloadSettings) -> Json:
    """The Hugging Face token that gated models are downloaded with."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": HF_SECRET,
            "namespace": settings.namespace,
            "labels": dict(MANAGED),
        },
        "stringData": {"token": settings.hf_token},
    }


def owned_by(thing: Json, deployment: Json) -> Json:
    """The object, to be removed together with the Deployment."""
    metadata = deployment["metadata"]
    owner = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": metadata["name"],
        "uid": metadata["uid"],
    }
    return {**thing, "metadata": {**thing["metadata"], "ownerReferences": [owner]}}
