"""Pods with the labels of the real ones, and what lies around them, for the table of docs/network.md."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import yaml

from bot.cluster import web_ui
from bot.cluster.manifests import WorkloadSettings
from tests.real.bot_rights import ROOT
from tests.real.cluster import PATIENCE, RealCluster
from tests.real.connections import CONNECT, LISTEN
from tests.real.images import ENGINE

Json = dict[str, Any]
OTHER_PORT, MIRROR_PORT = 9000, 8090
"""One that nothing of ours uses, and that of the example in docs/network.md."""
LISTENING = (80, 443, 5432, 8000, 8065, 8080, MIRROR_PORT, OTHER_PORT, 9090)
"""Every pod takes connections on all of them: who is refused is refused by a policy."""
BOT, MODEL, ANOTHER_MODEL, WEB_UI = "the bot", "a model", "another model", "Open WebUI"
NEIGHBOUR, STRANGER = "other pods of the namespace", "pods of other namespaces"
NODES = {MODEL: "gpu-node-1", ANOTHER_MODEL: "gpu-node-2"}
"""All others are on `worker`."""
OUTSIDE = {
    "the cloud's metadata (169.254.169.254)": "169.254.169.254",
    "the internet": "203.0.113.7",  # nobody's, RFC 5737
    "private addresses, such as the campus": "10.11.12.13",
}
Cell = tuple[str, str, int]
"""Who connects, to what, on which port."""


class Place(NamedTuple):
    """A pod, or something else that takes connections at its address."""

    address: str
    name: str = ""
    namespace: str = ""


class World:
    """What the table names, and the connections between it."""

    def __init__(self, cluster: RealCluster, namespace: str, places: dict[str, Place]) -> None:
        self.namespace = namespace
        """That of the bot."""
        self.places = places
        self._cluster = cluster

    def reached(self, cells: dict[Cell, bool]) -> dict[Cell, bool]:
        """Which of these connections are taken."""
        sources = sorted({who for who, _, _ in cells})
        with ThreadPoolExecutor(len(sources)) as together:
            answers = together.map(lambda who: self._from(who, [c for c in cells if c[0] == who]), sources)
            return {cell: taken for answer in answers for cell, taken in answer.items()}

    def _from(self, who: str, cells: list[Cell]) -> dict[Cell, bool]:
        """Those of one pod, all at once."""
        source = self.places[who]
        targets = [(self.places[_other(who, to)].address, port) for _, to, port in cells]
        run = ("--", "python3", "-c", CONNECT, json.dumps(targets))
        said = self._cluster.kubectl("exec", source.name, f"--namespace={source.namespace}", *run)
        return dict(zip(cells, json.loads(said), strict=True))


def _other(who: str, to: str) -> str:
    return ANOTHER_MODEL if who == to == MODEL else to


@contextmanager
def world(cluster: RealCluster, rendered: dict[str, str]) -> Iterator[World]:
    """Without any policy; `rendered` has the manifests of two models, as `bot render` prints them."""
    with ExitStack() as stack:
        for address in OUTSIDE.values():
            stack.enter_context(cluster.own_nodes.outside(address, 80, 443, OTHER_PORT))
        here, there = (stack.enter_context(cluster.namespace(name)) for name in ("table", "elsewhere"))
        labels = {
            BOT: _labels(yaml.safe_load((ROOT / "manifests" / "bot" / "deployment.yaml").read_text())),
            **{model: _labels(_deployment(text)) for model, text in rendered.items()},
            WEB_UI: _labels(web_ui.objects({}, "ada", WorkloadSettings(), "")["Deployment"]),
            NEIGHBOUR: {},
        }
        pods = [_pod(name, here, its) for name, its in labels.items()] + [_pod(STRANGER, there, {})]
        listed = {"apiVersion": "v1", "kind": "List", "items": pods}
        cluster.kubectl("create", "-f", "-", stdin=json.dumps(listed))
        yield World(cluster, here, _around(cluster) | _running(cluster, here) | _running(cluster, there))


def _deployment(rendered: str) -> Json:
    [found] = [one for one in yaml.safe_load_all(rendered) if one["kind"] == "Deployment"]
    return dict(found)


def _labels(deployment: Json) -> Json:
    return dict(deployment["spec"]["template"]["metadata"]["labels"])


def _pod(name: str, namespace: str, labels: Json) -> Json:
    """It takes connections, and has what tries them."""
    container = {
        "name": "vllm",  # into it goes what the tests lay over the pods of models
        "image": ENGINE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", LISTEN, "0.0.0.0", *map(str, LISTENING)],
        "readinessProbe": {"tcpSocket": {"port": LISTENING[-1]}, "periodSeconds": 1},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name.lower().replace(" ", "-"),
            "namespace": namespace,
            "labels": labels,
            "annotations": {"is": name},
        },
        "spec": {
            "containers": [container],
            "nodeSelector": {"kubernetes.io/hostname": NODES.get(name, "worker")},
            "tolerations": [{"operator": "Exists"}],
            "terminationGracePeriodSeconds": 0,
        },
    }


def _running(cluster: RealCluster, namespace: str) -> dict[str, Place]:
    wait = ("wait", "--for=condition=Ready", "pods", "--all", f"--timeout={PATIENCE:.0f}s")
    cluster.kubectl(*wait, f"--namespace={namespace}")
    return {
        pod["metadata"]["annotations"]["is"]: Place(
            pod["status"]["podIP"], pod["metadata"]["name"], namespace
        )
        for pod in cluster.pods(namespace)
    }


def _around(cluster: RealCluster) -> dict[str, Place]:
    """What is no pod of ours."""
    api = cluster.get("default", "service", "kubernetes")["spec"]["clusterIP"]
    node = cluster.own_nodes.node(NODES[ANOTHER_MODEL])
    return {
        "the cluster's DNS": Place("dns"),
        "the Kubernetes API": Place(api),
        "the kubelet of another node": Place(node.address),
        **{name: Place(address) for name, address in OUTSIDE.items()},
    }
