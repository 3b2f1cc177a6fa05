"""Open WebUI for the models of the namespace: one for everybody, always connected to all models."""

from bot.core.access.roles import Access, Role
from bot.core.bulkhead import Bulkhead, WorkKind
from bot.core.chat.errors import UserError
from bot.core.chat.message import User
from bot.core.chat.text import t
from bot.core.ports import ClusterReader, WebUi, WebUiHost


class WebUiService:
    """Starts, connects and stops Open WebUI. UserError when the cluster cannot be reached or refuses."""

    def __init__(self, cluster: ClusterReader, host: WebUiHost, access: Access, bulkhead: Bulkhead) -> None:
        self._cluster, self._host = cluster, host
        self._access, self._bulkhead = access, bulkhead

    def state(self) -> WebUi | None:
        """The Open WebUI as last seen; None if there is none."""
        return self._host.web_ui()

    async def start(self, user: User) -> None:
        """Start it and connect it to all models; the person owns it."""
        await self._host.apply_web_ui(self._names(), user.id)

    async def stop(self, user: User) -> None:
        """Stop it; chats and accounts stay. UserError unless the person started it or is an admin."""
        web_ui = self.state()
        if web_ui is None:
            raise UserError(t("webui.none"))
        if web_ui.owner != user.id and self._access.role(user) < Role.ADMIN:
            raise UserError(t("access.not_yours", name="Open WebUI", owner=web_ui.owner))
        await self._host.remove_web_ui()

    async def run(self) -> None:
        """Keep it connected to all models; it never ends."""
        with self._cluster.changes() as names:
            await self._connect()
            async for _ in names:
                await self._connect()

    async def _connect(self) -> None:
        with self._bulkhead.isolated(WorkKind.WEB_UI):
            web_ui = self.state()
            if web_ui and list(web_ui.connected) != self._names():
                await self._host.apply_web_ui(self._names(), web_ui.owner)

    def _names(self) -> list[str]:
        return sorted(workload.name for workload in self._cluster.workloads())
