"""What belongs to a model's Deployment, and is removed by the cluster together with it."""

import asyncio
from collections.abc import Awaitable

from bot.cluster.client import Api, Json
from bot.cluster.manifests import Objects, WorkloadSettings, hf_secret, owned_by


async def make(api: Api, settings: WorkloadSettings, objects: Objects, deployment: Json) -> None:
    """Its Service, its Secret if it is among the objects, and the Secret that all models share.

    The name of a model's Secret is that of no other: where there is one it is right, and it stays unread."""
    core = f"/api/v1/namespaces/{settings.namespace}"
    service = owned_by(objects["Service"], deployment)
    wanted: list[Awaitable[object]] = [api.create_or_apply(f"{core}/services", service)]
    if "Secret" in objects:
        wanted.append(api.create_once(f"{core}/secrets", owned_by(objects["Secret"], deployment)))
    if settings.hf_token:
        wanted.append(api.apply(f"{core}/secrets", hf_secret(settings)))
    await asyncio.gather(*wanted)
