"""The half of the Cluster port that asks nobody: it reads what the mirrors hold."""

from collections.abc import AsyncIterator, Sequence

from bot.cluster.views import Views
from bot.core.deployment.names import object_name
from bot.core.deployment.workload import Workload
from bot.core.ports import GpuNode, Server


class Reading:
    """`_views` are there once it is entered."""

    _views: Views

    def __init__(self, namespace: str, url_template: str) -> None:
        self.namespace = namespace
        self._url_template = url_template

    @property
    def synced(self) -> bool:
        """The mirrors know the cluster."""
        return self._views.synced

    def workloads(self) -> Sequence[Workload]:
        """Every workload as last seen."""
        return self._views.workloads()

    def find(self, name: str) -> Workload | None:
        """The workload whose objects are called like those of `name`."""
        return self._views.by_object_name(object_name(name))

    def owned_by(self, owner: str) -> Sequence[Workload]:
        """The workloads of the person with this user id."""
        return [workload for workload in self._views.workloads() if workload.record.owner == owner]

    def written_by_newer(self) -> Sequence[str]:
        """Object names of Deployments in a format that this version does not know."""
        return self._views.written_by_newer()

    def nodes(self) -> Sequence[GpuNode]:
        """Nodes with GPUs as last seen."""
        return self._views.nodes()

    def changes(self) -> AsyncIterator[str]:
        """Names of workloads as they change."""
        return self._views.changes()

    def servers(self, name: str) -> Sequence[Server]:
        """By the pods' own addresses; from outside the cluster, by the one there is."""
        return self._views.servers(object_name(name), self._url_template)

    def address(self, name: str) -> str:
        """Its address inside the cluster."""
        return f"http://{object_name(name)}.{self.namespace}.svc:8000"

    def lacks(self) -> Sequence[str]:
        """What the API server does not let us follow."""
        return self._views.lacks()
