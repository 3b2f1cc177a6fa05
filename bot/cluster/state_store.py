"""The bot's state that belongs to no single Deployment: one text in a ConfigMap."""

from bot.cluster import ours
from bot.cluster.client import Api, ApiError, Json
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
    await _write(api, namespace, KEY, text)


async def set_aside(api: Api, namespace: str, text: str) -> None:
    """Keep a text that nobody can read beside the other, which stays as it is."""
    await _write(api, namespace, UNREADABLE, text.encode()[:ASIDE_BYTES].decode(errors="ignore"))


async def _write(api: Api, namespace: str, key: str, text: str) -> None:
    """In the ConfigMap, if that is the bot's; its other texts stay as they are."""
    config_map: Json = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NAME, "namespace": namespace, "labels": MANAGED},
        "data": {key: text},
    }
    await ours.change(api, f"/api/v1/namespaces/{namespace}/configmaps", config_map)
