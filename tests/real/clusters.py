"""Where the real cluster of the tests comes from: nodes of our own, or somebody's kind, k3d or minikube.

A cluster that KUBECONFIG names is taken if its context says that it is one of these, or if IMAGE_LOADER says
how images get there; never any other, which people may be working on."""

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.real import images
from tests.real.cluster import RealCluster
from tests.real.control_plane import ADMIN
from tests.real.missing import needed, without_part
from tests.real.node import GPUS
from tests.real.nodes import Nodes, why_not
from tests.real.place import Place


class Tool(NamedTuple):
    """What starts clusters for developers."""

    context: str
    """How its contexts begin."""
    loader: str
    """Loads the archive that is appended; {name} is what follows in the context's name."""
    machine: str
    """Prints this machine's address, as pods reach it."""


TOOLS = (
    Tool(
        "kind-",
        "kind load image-archive --name {name}",
        "docker network inspect kind --format={{(index .IPAM.Config 0).Gateway}}",
    ),
    Tool("k3d-", "k3d image import --cluster {name}", "echo host.k3d.internal"),
    Tool("minikube", "minikube image load", "echo host.minikube.internal"),
)


@contextmanager
def some_cluster(vllm: Path, folder: Path) -> Iterator[RealCluster]:
    """Images are built, loaded and in use; where none can be, tests are skipped with the reason."""
    bot, engine = images.build_bot().save(folder / "bot.tar"), images.build_engine(vllm, folder)
    with _bare(folder) as cluster:
        cluster.load(bot, "worker")
        cluster.load(engine)
        cluster.use_real_vllm(vllm)
        if cluster.somebodys and not cluster.runs_engines(vllm):
            without_part(f"the nodes of KUBECONFIG do not see {vllm}: CONTRIBUTING.md says how they can")
        yield cluster


@contextmanager
def _bare(folder: Path) -> Iterator[RealCluster]:
    """As it comes."""
    if somebodys := _somebodys(folder):
        _announce_gpus(somebodys)
        yield somebodys
        return
    binaries = Path(needed("KUBEBUILDER_ASSETS", "no real nodes to test against"))
    place = Place(0)
    if reason := why_not(binaries, place.folder):
        without_part(reason)
    with place.alone() as lock:
        nodes = Nodes(binaries, place, lock)
        try:
            nodes.start()
            yield RealCluster(nodes.plane.kubeconfig(ADMIN), folder, place.machine, nodes.load, nodes)
        finally:
            nodes.stop()


def _somebodys(folder: Path) -> RealCluster | None:
    """The cluster of KUBECONFIG, if it is one for developers."""
    kubeconfig = os.environ.get("KUBECONFIG", "")
    if not kubeconfig:
        return None
    loader = os.environ.get("IMAGE_LOADER", "")
    machine = os.environ.get("MACHINE_ADDRESS", "")
    context = _printed(["kubectl", f"--kubeconfig={kubeconfig}", "config", "current-context"])
    for tool in TOOLS:
        if context.startswith(tool.context):
            loader = loader or tool.loader.format(name=context.removeprefix(tool.context))
            machine = machine or _printed(shlex.split(tool.machine))
    if not loader:
        return None

    def load(archive: Path, *nodes: str) -> None:
        _printed([*shlex.split(loader), str(archive)])

    return RealCluster(Path(kubeconfig), folder, machine, load, None)


def _announce_gpus(cluster: RealCluster) -> None:
    """As a device plugin would, on nodes that have none."""
    for node in json.loads(cluster.kubectl("get", "nodes", "--output=json"))["items"]:
        if "nvidia.com/gpu" not in node["status"]["allocatable"]:
            gpus = {"nvidia.com/gpu": str(GPUS)}
            patch = json.dumps({"status": {"capacity": gpus, "allocatable": gpus}})
            name = node["metadata"]["name"]
            cluster.kubectl("patch", "node", name, "--subresource=status", "--type=merge", f"--patch={patch}")


def _printed(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, f"{shlex.join(command)}: {done.stderr}"
    return done.stdout.strip()
