"""The volume of all weights: whether every node can mount it."""

from bot.cluster.client import Api, ApiError, Json
from bot.cluster.manifests import WorkloadSettings, template
from bot.core.chat.errors import UserError
from bot.core.ports import Engine

SHARED = {"ReadWriteMany", "ReadOnlyMany"}
"""Access modes of volumes that several nodes can mount at once."""


async def find_claim(api: Api, settings: WorkloadSettings, engine: Engine) -> Json | None:
    """The claim of that volume as it is, else as the bot would make it; None if the bot may not see it.
    UserError when the cluster cannot be reached."""
    ours: Json = template(engine.manifest, settings)["PersistentVolumeClaim"]
    path = f"/api/v1/namespaces/{settings.namespace}/persistentvolumeclaims/{ours['metadata']['name']}"
    try:
        found: Json = await api.request("GET", path)
    except ApiError as error:
        return ours if error.status == 404 else None
    return found


def is_shared(claim: Json) -> bool:
    """Several nodes can mount it at once."""
    return bool(SHARED & set(claim["spec"].get("accessModes", [])))


class ModelCache:
    """That volume; its claim is read once, because the access modes of a claim never change."""

    def __init__(self, settings: WorkloadSettings, engine: Engine) -> None:
        self._settings, self._engine = settings, engine
        self._claim: Json | None = None

    async def is_shared(self, api: Api) -> bool:
        """Several nodes can mount it at once; True also if that is not known."""
        if self._claim is None:
            try:
                self._claim = await find_claim(api, self._settings, self._engine)
            except UserError:
                return True
        return self._claim is None or is_shared(self._claim)
