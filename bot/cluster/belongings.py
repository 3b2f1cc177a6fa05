"""What belongs to a model's Deployment, and is removed by the cluster together with it."""

import asyncio
from collections.abc import Awaitable

from bot.cluster import ours
from bot.cluster.client import Api, Json
from bot.cluster.manifests import API_KEY, Objects, WorkloadSettings, hf_secret, owned_by


async def check(api: Api, settings: WorkloadSettings, objects: Objects) -> None:
    """NotOurs if something of that name is not the bot's; the name of a model's own Secret is that of no
    other."""
    wanted = [objects["Service"], *_shared(settings)]
    await asyncio.gather(*(ours.check(api, _path(body), body) for body in wanted))


async def make(api: Api, settings: WorkloadSettings, objects: Objects, deployment: Json) -> None:
    """Its Service, its Secret if its key is known, and what all models share; what is there stays.

    The Secret stays unread: where there is one of its name it is right."""
    claim, service = objects["PersistentVolumeClaim"], owned_by(objects["Service"], deployment)
    wanted: list[Awaitable[object]] = [
        api.create_once(_path(claim), claim),
        ours.make_belonging(api, _path(service), service),
    ]
    secret = objects["Secret"]
    if secret["stringData"][API_KEY]:
        wanted.append(api.create_once(_path(secret), owned_by(secret, deployment)))
    wanted += [ours.make(api, _path(shared), shared) for shared in _shared(settings)]
    await asyncio.gather(*wanted)


def _shared(settings: WorkloadSettings) -> list[Json]:
    """Secrets that all models use."""
    return [hf_secret(settings)] if settings.hf_token else []


def _path(thing: Json) -> str:
    return f"/api/v1/namespaces/{thing['metadata']['namespace']}/{thing['kind'].lower()}s"
