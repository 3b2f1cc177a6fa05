"""The Open WebUI of the namespace: found, connected to models, and removed."""

from collections.abc import Mapping
from dataclasses import replace

from bot.cluster import web_ui
from bot.cluster.client import Api
from bot.cluster.manifests import ApiKey, WorkloadSettings, key_secret
from bot.cluster.model_keys import ModelKeys
from bot.cluster.views import ClusterView
from bot.core.chat.errors import UserError
from bot.core.chat.text import t
from bot.core.deployment.names import object_name
from bot.core.ports import WebUi

UNKNOWN = "unknown"
"""What it shows a model whose key is not known any more: that one refuses it until it starts again."""


class WebUiAccess:
    """UserError when the cluster cannot be reached or refuses."""

    def __init__(self, api: Api, view: ClusterView, keys: ModelKeys, settings: WorkloadSettings) -> None:
        self._api, self._view = api, view
        self._keys, self._settings = keys, settings

    def find(self) -> WebUi | None:
        """As last seen, if there is one; not connected to a model whose key has changed since."""
        if (found := self._view.deployment(web_ui.NAME)) is None:
            return None
        shown, keys = web_ui.read_web_ui(found, self._settings), web_ui.keys_of(found)
        models = {name: self._view.deployment(object_name(name)) for name in shown.connected}
        known = [n for n, model in models.items() if model is None or keys.get(n) == key_secret(model)]
        return replace(shown, connected=tuple(known))

    async def apply(self, addresses: Mapping[str, str], owner: str) -> None:
        """Start it, or connect it to these models, by name."""
        connections = {name: await self._connection(name, url) for name, url in addresses.items()}
        session_key = await self._keys.for_purpose("sessions of Open WebUI")
        wanted = web_ui.objects(connections, owner, self._settings, session_key)
        if self.find() is None:
            await web_ui.check(self._api, wanted, self._settings)
        self._view.deployments.put(await web_ui.apply(self._api, wanted, self._settings))

    async def remove(self) -> None:
        """All but chats, accounts and the Secret of its keys."""
        await web_ui.remove(self._api, self._settings)
        self._view.deployments.discard((self._settings.namespace, web_ui.NAME))

    async def _connection(self, name: str, url: str) -> web_ui.Connection:
        if (deployment := self._view.deployment(object_name(name))) is None:
            raise UserError(t("workload.gone", name=name))
        key = await self._keys.find(deployment) or ApiKey(key_secret(deployment), UNKNOWN)
        return web_ui.Connection(f"{url}/v1", key)
