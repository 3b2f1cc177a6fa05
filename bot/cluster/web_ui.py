"""Open WebUI: its objects, and what it looks like."""

import json
import secrets
from base64 import b64decode
from collections.abc import Mapping, Sequence

from bot.cluster.client import Api, ApiError, Json
from bot.cluster.manifests import MANAGED, WORKLOAD, Objects, WorkloadSettings, template
from bot.core.ports import WebUi

GROUPS = {
    "PersistentVolumeClaim": "/api/v1",
    "Secret": "/api/v1",
    "Service": "/api/v1",
    "Deployment": "/apis/apps/v1",
    "Ingress": "/apis/networking.k8s.io/v1",
}
NAME = "llm-webui"
CONNECTED = "llm-bot/connected"
"""Annotation of Open WebUI: the models that it knows, as a JSON list of names."""
OWNER = "llm-bot/owner"
"""Annotation of Open WebUI and of a model's Deployment: the id of whoever started it."""


def objects(
    connections: Mapping[str, tuple[str, str]],
    owner: str,
    settings: WorkloadSettings,
    existing: Sequence[Json],
) -> Objects:
    """Everything it needs. `connections` gives address and key by model; the key that signs
    sessions is kept from the `existing` Secret."""
    found = template("open-webui.yaml", settings)
    kept = existing[0]["data"].get("secret-key") if existing else None
    found["Secret"]["stringData"] = {
        "secret-key": b64decode(kept).decode() if kept else secrets.token_urlsafe(32),
        "openai-keys": ";".join(key for _, key in connections.values()),
    }
    deployment = found["Deployment"]
    names = json.dumps(sorted(connections))
    deployment["metadata"]["annotations"] = {CONNECTED: names, OWNER: owner}
    pod = deployment["spec"]["template"]
    pod["metadata"]["annotations"] = {CONNECTED: names}  # new models restart it: it reads them once
    pod["metadata"]["labels"] = MANAGED | {WORKLOAD: NAME}
    container = pod["spec"]["containers"][0]
    container["image"] = settings.open_webui_image
    container["env"][0]["value"] = ";".join(url for url, _ in connections.values())
    if settings.ingress_host:
        ingress = found["Ingress"]["spec"]
        ingress["tls"][0]["hosts"] = [settings.ingress_host]
        ingress["rules"][0]["host"] = settings.ingress_host
    else:
        del found["Ingress"]
    return found


async def apply(
    api: Api, connections: Mapping[str, tuple[str, str]], owner: str, settings: WorkloadSettings
) -> Json:
    """Server-side apply of everything; the Deployment as it is then."""
    field = {"fieldSelector": f"metadata.name={NAME}"}
    found = await api.request("GET", path("Secret", settings.namespace), query=field)
    wanted = objects(connections, owner, settings, found["items"])
    claim = wanted.pop("PersistentVolumeClaim")
    await api.create_once(path("PersistentVolumeClaim", settings.namespace), claim)
    applied = {k: await api.apply(path(k, settings.namespace), body) for k, body in wanted.items()}
    return applied["Deployment"]


async def remove(api: Api, settings: WorkloadSettings) -> None:
    """Delete what runs."""
    for kind in ("Deployment", "Service", *(["Ingress"] if settings.ingress_host else [])):
        try:
            await api.request("DELETE", f"{path(kind, settings.namespace)}/{NAME}")
        except ApiError as error:
            if error.status != 404:
                raise


def path(kind: str, namespace: str) -> str:
    """Where objects of a kind are."""
    plural = "ingresses" if kind == "Ingress" else f"{kind.lower()}s"
    return f"{GROUPS[kind]}/namespaces/{namespace}/{plural}"


def view(deployment: Json, settings: WorkloadSettings) -> WebUi:
    """What its Deployment shows."""
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
