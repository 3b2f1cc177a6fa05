"""What the bot remembers that is about no Deployment alone: a ConfigMap."""

from bot.cluster.client import Api, ApiError
from bot.cluster.manifests import MANAGED

NAME, KEY = "llm-bot-alerts", "state"


async def load(api: Api, namespace: str) -> str:
    """The text that was kept last, or nothing."""
    try:
        found = await api.request("GET", f"/api/v1/namespaces/{namespace}/configmaps/{NAME}")
    except ApiError as error:
        if error.status == 404:
            return ""
        raise
    return str((found.get("data") or {}).get(KEY, ""))


async def save(api: Api, namespace: str, text: str) -> None:
    """Keep a text, of up to 1 MiB."""
    note = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NAME, "namespace": namespace, "labels": MANAGED},
        "data": {KEY: text},
    }
    await api.apply(f"/api/v1/namespaces/{namespace}/configmaps", note)
