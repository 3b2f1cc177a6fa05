"""Open WebUI: its objects, and how it is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from bot import MANIFESTS
from bot.cluster import ours
from bot.cluster.client import Api, Json
from bot.cluster.manifests import MANAGED, WORKLOAD, ApiKey, Objects, WorkloadSettings, template
from bot.core.deployment.manifest import named
from bot.core.ports import WebUi

API_GROUPS = {
    "PersistentVolumeClaim": "/api/v1",
    "Secret": "/api/v1",
    "Service": "/api/v1",
    "Deployment": "/apis/apps/v1",
    "Ingress": "/apis/networking.k8s.io/v1",
}
"""Where the API has the objects of each kind."""
MANIFEST = MANIFESTS / "web-ui" / "open-webui.yaml"
NAME = "llm-webui"
"""Of all its objects."""
CONTAINER, ADDRESSES = "open-webui", "OPENAI_API_BASE_URLS"
"""Names of its container, and of the variable with the models' addresses."""
CONNECTED = "llm-bot/connected"
"""Annotation of Open WebUI: the models that it knows, as a JSON list of names."""
KEYS = "llm-bot/keys"
"""Annotation of Open WebUI: the Secrets that its keys are those of, as JSON by model."""
OWNER = "llm-bot/owner"
"""Annotation of Open WebUI and of a model's Deployment: the id of whoever started it."""


class Connection(NamedTuple):
    """To one model."""

    url: str
    """Its address, with `/v1`."""
    key: ApiKey


def objects(
    connections: Mapping[str, Connection],
    owner: str,
    settings: WorkloadSettings,
    session_key: str,
    manifest: Path = MANIFEST,
) -> Objects:
    """Everything it needs, by kind.

    `connections` are by model; `session_key` signs sessions: another one logs everybody out. UserError if the
    `manifest` lacks what this is laid over."""
    found = template(manifest, settings)
    found["Secret"]["stringData"] = {
        "secret-key": session_key,
        "openai-keys": ";".join(connection.key.value for connection in connections.values()),
    }
    deployment = found["Deployment"]
    known = {
        CONNECTED: json.dumps(sorted(connections)),
        KEYS: json.dumps({name: connection.key.secret for name, connection in sorted(connections.items())}),
    }
    deployment["metadata"]["annotations"] = known | {OWNER: owner}
    pod = deployment["spec"]["template"]
    pod["metadata"]["annotations"] = known  # new models and keys restart it: it reads them once
    pod["metadata"]["labels"] = MANAGED | {WORKLOAD: NAME}
    container = named(pod["spec"]["containers"], CONTAINER, "container", manifest)
    container["image"] = settings.open_webui_image
    addresses = named(container["env"], ADDRESSES, "variable", manifest)
    addresses["value"] = ";".join(connection.url for connection in connections.values())
    if settings.ingress_host:
        _set_host(found["Ingress"]["spec"], settings.ingress_host)
    else:
        del found["Ingress"]
    return found


def _set_host(ingress: Json, host: str) -> None:
    """All its rules and certificates are for the one host."""
    for certificate in ingress["tls"]:
        certificate["hosts"] = [host]
    for rule in ingress["rules"]:
        rule["host"] = host


async def check(api: Api, wanted: Objects, settings: WorkloadSettings) -> None:
    """NotOurs if one of its objects is there and not the bot's."""
    for kind, body in wanted.items():
        if kind != "PersistentVolumeClaim":
            await ours.check(api, path(kind, settings.namespace), body)


async def apply(api: Api, wanted: Objects, settings: WorkloadSettings) -> Json:
    """Make it so; the Deployment as it is then. What its volume holds is kept."""
    claim = wanted.pop("PersistentVolumeClaim")
    await api.create_once(path("PersistentVolumeClaim", settings.namespace), claim)
    made = {
        kind: await ours.change(api, path(kind, settings.namespace), body) for kind, body in wanted.items()
    }
    return made["Deployment"]


async def remove(api: Api, settings: WorkloadSettings) -> None:
    """Delete all but its volume and its Secret, as far as it is the bot's."""
    for kind in ("Deployment", "Service", *(["Ingress"] if settings.ingress_host else [])):
        await ours.remove(api, path(kind, settings.namespace), NAME, MANAGED)


def path(kind: str, namespace: str) -> str:
    """Where the API has the objects of a kind in a namespace."""
    plural = "ingresses" if kind == "Ingress" else f"{kind.lower()}s"
    return f"{API_GROUPS[kind]}/namespaces/{namespace}/{plural}"


def keys_of(deployment: Json) -> dict[str, str]:
    """The Secret that its key is that of, by model; empty if an older version made it."""
    annotations = deployment["metadata"].get("annotations") or {}
    found: dict[str, str] = json.loads(annotations.get(KEYS, "{}"))
    return found


def read_web_ui(deployment: Json, settings: WorkloadSettings) -> WebUi:
    """How it is, by its Deployment."""
    annotations = deployment["metadata"].get("annotations") or {}
    host = settings.ingress_host
    namespace = settings.namespace
    return WebUi(
        ready=deployment.get("status", {}).get("readyReplicas", 0) > 0,
        connected=tuple(json.loads(annotations.get(CONNECTED, "[]"))),
        url=f"https://{host}" if host else "",
        reach=f"kubectl -n {namespace} port-forward service/llm-webui 8080:8080   # http://localhost:8080",
        owner=annotations.get(OWNER, ""),
    )
