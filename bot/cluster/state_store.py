"""The bot's state that belongs to no single Deployment: one text in a ConfigMap."""

from bot.cluster.client import Api, ApiError
from bot.cluster.manifests import MANAGED

NAME, KEY = "llm-bot-alerts", "state"
"""Of the ConfigMap, and of the text in it."""


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
