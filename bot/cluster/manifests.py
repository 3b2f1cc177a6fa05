"""From a spec to Kubernetes objects: the YAML of its engine, with what varies laid over it."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml

from bot.cluster.annotations import spec_annotation, to_annotations
from bot.cluster.client import Json
from bot.cluster.resources import Resources, lay_over
from bot.core.deployment.manifest import named
from bot.core.deployment.names import object_name
from bot.core.deployment.record import Record
from bot.core.deployment.workload import Spec
from bot.core.ports import Engine

MANAGED = {"app.kubernetes.io/managed-by": "llm-bot"}
"""The label of every object that the bot made."""
WORKLOAD = "llm-bot/workload"
"""Label of everything that belongs to one model, with the name of its Deployment."""
GPU_TAINT = "nvidia.com/gpu"
"""What taints GPU nodes in the YAML files; settings may name another."""
HF_SECRET = "llm-hf-token"
"""The Secret with the Hugging Face token, which all workloads share."""
API_KEY = "api-key"
"""Where in a model's Secret its key is."""
Objects = dict[str, Json]
"""Kubernetes objects by their kind; there is one of each."""


class ApiKey(NamedTuple):
    """Of one model."""

    secret: str
    """The name of the Secret that holds it."""
    value: str
    """The key itself; empty where nobody needs it."""


@dataclass(frozen=True, slots=True)
class WorkloadSettings:
    """What of the bot's settings ends up in manifests."""

    namespace: str = "default"
    image: str = "vllm/vllm-openai:v0.8.5.post1"
    """Of the engine."""
    open_webui_image: str = (
        "ghcr.io/open-webui/open-webui:v0.6.43"
        "@sha256:9cb724e0bc84f05ba2f81a3da5f53f5add07e1001065d83f3b6b70b9a9eeef19"
    )
    node_selector: Mapping[str, str] = field(default_factory=dict)
    """Labels of the nodes that models may run on."""
    toleration: str = "nvidia.com/gpu"
    """The key of the taint that GPU nodes have."""
    storage_class: str = ""
    """Of the volumes; empty is the cluster's default."""
    cache_size: str = "200Gi"
    """What the volume of all weights asks for, as Kubernetes writes it."""
    ingress_host: str = ""
    """Where Open WebUI is reached from outside; empty is nowhere."""
    api_key: str = ""
    """Of every model; empty is one for each, which the bot derives from a key of its own."""
    hf_token: str = ""
    """For gated models of Hugging Face; empty is none."""
    resources: Resources = field(default_factory=dict)
    """Of a model's container for each of its GPUs; what is left out is the engine's own."""


@cache
def _read(file: Path) -> list[Json]:
    return list(yaml.safe_load_all(file.read_text(encoding="utf-8")))


def template(file: Path, settings: WorkloadSettings) -> Objects:
    """The objects of a file by kind, in the bot's namespace and marked as the bot's."""
    objects = {thing["kind"]: thing for thing in deepcopy(_read(file))}
    for thing in objects.values():
        thing["metadata"]["namespace"] = settings.namespace
        thing["metadata"]["labels"] = dict(MANAGED)
    claim = objects["PersistentVolumeClaim"]
    if settings.storage_class:
        claim["spec"]["storageClassName"] = settings.storage_class
    return objects


def workload_objects(
    spec: Spec, record: Record, settings: WorkloadSettings, engine: Engine, key: ApiKey
) -> Objects:
    """Everything that one model needs, by kind."""
    objects = template(engine.manifest, settings)
    name, name_in_file = object_name(spec.name), objects["Secret"]["metadata"]["name"]
    objects["PersistentVolumeClaim"]["spec"]["resources"]["requests"]["storage"] = settings.cache_size
    for kind in ("Secret", "Service", "Deployment"):
        objects[kind]["metadata"]["name"] = name
        objects[kind]["metadata"]["labels"][WORKLOAD] = name
    objects["Secret"]["metadata"]["name"] = key.secret
    objects["Secret"]["stringData"] = {API_KEY: key.value}
    objects["Service"]["spec"]["selector"] = {WORKLOAD: name}
    deployment = objects["Deployment"]
    deployment["metadata"]["annotations"] = spec_annotation(spec) | to_annotations(record)
    deployment["spec"]["replicas"] = 0 if record.queued_since else spec.replicas
    deployment["spec"]["selector"]["matchLabels"] = {WORKLOAD: name}
    template_labels = deployment["spec"]["template"]["metadata"]["labels"]
    template_labels.update(MANAGED | {WORKLOAD: name})
    pod = deployment["spec"]["template"]["spec"]
    container = named(pod["containers"], engine.container, "container", engine.manifest)
    container["image"] = settings.image
    _rename_secret(pod["containers"], name_in_file, key.secret)
    engine.lay_over(pod, spec)
    lay_over(container["resources"], settings.resources, spec.tensor_parallel_size)
    _place(pod, settings)
    _prefer(pod, record.last_nodes)
    return objects


def pod_template(spec: Spec, settings: WorkloadSettings, engine: Engine) -> Json:
    """What pods of this model would be made from, to be looked at."""
    nobodys = Record(owner="", owner_name="", start_requested_at=datetime(2000, 1, 1, tzinfo=UTC))
    objects = workload_objects(spec, nobodys, settings, engine, ApiKey(object_name(spec.name), ""))
    template: Json = objects["Deployment"]["spec"]["template"]
    return template


def key_secret(deployment: Json) -> str:
    """The Secret that a model's pods have their key from; empty if a pod has none."""
    for container in deployment["spec"]["template"]["spec"]["containers"]:
        for variable in container.get("env", []):
            reference = variable.get("valueFrom", {}).get("secretKeyRef", {})
            if reference.get("key") == API_KEY:
                return str(reference["name"])
    return ""


def key_command(deployment: Json) -> str:
    """A command line that shows a model's key to whoever may read its Secret."""
    secret = f"{key_secret(deployment)} -o jsonpath='{{.data.{API_KEY}}}'"
    return f"kubectl -n {deployment['metadata']['namespace']} get secret {secret} | base64 -d"


def _rename_secret(containers: list[Json], old: str, new: str) -> None:
    """Let variables that come from one Secret come from another."""
    for container in containers:
        for variable in container.get("env", []):
            reference = variable.get("valueFrom", {}).get("secretKeyRef", {})
            if reference.get("name") == old:
                reference["name"] = new


def _place(pod: Json, settings: WorkloadSettings) -> None:
    """Let it run on the nodes that the settings name, whose taint it tolerates."""
    pod["nodeSelector"] = dict(settings.node_selector)
    for toleration in pod["tolerations"]:
        if toleration["key"] == GPU_TAINT:
            toleration["key"] = settings.toleration


def _prefer(pod: Json, nodes: Sequence[str]) -> None:
    """Let it run on one of these nodes if that is possible, else on any other.

    By the name of the node: its label `kubernetes.io/hostname` may be another one."""
    if not nodes:
        return
    affinity = pod.setdefault("affinity", {}).setdefault("nodeAffinity", {})
    affinity.setdefault("preferredDuringSchedulingIgnoredDuringExecution", []).extend(
        {
            "weight": 100,
            "preference": {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]},
        }
        for node in nodes
    )


def hf_secret(settings: WorkloadSettings) -> Json:
    """The Secret with the Hugging Face token that gated models are downloaded with."""
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
    """The same object, which the cluster removes together with the Deployment."""
    metadata = deployment["metadata"]
    owner = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": metadata["name"],
        "uid": metadata["uid"],
    }
    return {**thing, "metadata": {**thing["metadata"], "ownerReferences": [owner]}}
