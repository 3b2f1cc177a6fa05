"""What belongs to a model's Deployment, and is removed by the cluster together with it."""

import asyncio
from collections.abc import Awaitable

from bot.cluster import ours
from bot.cluster.client import Api, Json
from bot.cluster.manifests import Objects, WorkloadSettings, hf_secret, owned_by


async def check(api: Api, objects: Objects) -> None:
    """NotOurs if there is a Service of that name that is not the bot's; the name of a model's Secret is that
    of no other."""
    await ours.check(api, _path(objects["Service"]), objects["Service"])


async def make(api: Api, settings: WorkloadSettings, objects: Objects, deployment: Json) -> None:
    """Its Service, its Secret if it is among the objects, and what all models share; what is there stays.

    The Secret stays unread: where there is one of its name it is right."""
    claim, service = objects["PersistentVolumeClaim"], owned_by(objects["Service"], deployment)
    wanted: list[Awaitable[object]] = [
        api.create_once(_path(claim), claim),
        ours.make_belonging(api, _path(service), service),
    ]
    if secret := objects.get("Secret"):
        wanted.append(api.create_once(_path(secret), owned_by(secret, deployment)))
    if settings.hf_token:
        shared = hf_secret(settings)
        wanted.append(ours.make(api, _path(shared), shared))
    await asyncio.gather(*wanted)


def _path(thing: Json) -> str:
    return f"/api/v1/namespaces/{thing['metadata']['namespace']}/{thing['kind'].lower()}s"
