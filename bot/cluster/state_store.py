"""The bot's state that belongs to no single Deployment: one text in a ConfigMap."""

from bot.cluster.client import FIELD_MANAGER, MERGE_PATCH, Api, ApiError, Json
from bot.cluster.manifests import MANAGED

NAME = "llm-bot-alerts"
"""The ConfigMap."""
KEY, UNREADABLE = "state", "state.unreadable"
"""Its texts: what was saved last, and what nobody could read."""
ASIDE_BYTES = 256 * 1024
"""Of a text that nobody can read; both together must stay below the 1 MiB of a ConfigMap."""


async def load(api: Api, namespace: str) -> str:
    """The text that was saved last; empty if none was."""
    try:
        found = await api.request("GET", f"/api/v1/namespaces/{namespace}/configmaps/{NAME}")
    except ApiError as error:
        if error.status == 404:
            return ""
        raise
    return str((found.get("data") or {}).get(KEY, ""))


async def save(api: Api, namespace: str, text: str) -> None:
    """Save a text in place of the one before; at most 1 MiB, as in any ConfigMap."""
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NAME, "namespace": namespace, "labels": MANAGED},
        "data": {KEY: text},
    }
    await api.apply(f"/api/v1/namespaces/{namespace}/configmaps", config_map)


async def set_aside(api: Api, namespace: str, text: str) -> None:
    """Keep a text that nobody can read beside the other, which stays as it is."""
    kept = text.encode()[:ASIDE_BYTES].decode(errors="ignore")
    body: Json = {"data": {UNREADABLE: kept}}
    path = f"/api/v1/namespaces/{namespace}/configmaps/{NAME}"
    await api.request("PATCH", path, body, {"fieldManager": FIELD_MANAGER}, MERGE_PATCH)
