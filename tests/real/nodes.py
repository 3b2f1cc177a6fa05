"""A Kubernetes with real nodes on this machine, from KUBEBUILDER_ASSETS: kubelet, containerd and runc, a pod
network, kube-proxy, DNS, and kube-router, which enforces NetworkPolicies.

The control plane and each node have mounts, a network and process numbers of their own. All of it answers
this machine only."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.real import traces
from tests.real.connections import LISTEN
from tests.real.control_plane import ADMIN, ControlPlane, Site
from tests.real.node import PROXY, Node, own_var
from tests.real.node_files import corefile
from tests.real.place import Place
from tests.real.sandbox import Sandbox, SandboxFailed

PROGRAMS = (
    "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kubelet", "containerd",
    "containerd-shim-runc-v2", "ctr", "kube-proxy", "kube-router", "coredns", "pause.tar", "cni/bridge",
)  # fmt: skip
API_PORT = 6443
"""As in most clusters: policies for the bot name it."""
TOOLS = ("unshare", "nsenter", "ip", "openssl", "runc", "iptables", "ipset")


def why_not(binaries: Path, folder: Path) -> str:
    """Why nodes cannot run on this machine, in one line; empty if they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "real nodes need Linux and root"
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"real nodes need {', '.join(missing)}: install runc, iptables, ipset, iproute2 and openssl"
    if missing := [name for name in PROGRAMS if not (binaries / name).exists()]:
        return f"no real nodes: {binaries} holds no {missing[0]} (`make parts` builds it)"
    return _why_no_mounts(folder)


def _why_no_mounts(folder: Path) -> str:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as trial:
        try:
            Sandbox(*own_var(Path(trial))).close()
        except SandboxFailed as failed:
            return f"no real nodes: this machine does not let us mount ({failed})"
    return ""


class Nodes:
    """`worker`, `gpu-node-1` and so on, each GPU node tainted and with four GPUs to ask for."""

    def __init__(self, binaries: Path, place: Place, lock: socket.socket, gpu_nodes: int = 2) -> None:
        self.names = ["worker", *(f"gpu-node-{number}" for number in range(1, gpu_nodes + 1))]
        self._binaries = binaries
        self.place = place
        folder = self._folder = place.folder
        self._sandboxes: list[Sandbox] = []
        traces.remove(place)  # of one whose remover was killed, too
        self._remover = subprocess.Popen(
            [sys.executable, "-m", "tests.real.traces", str(place.number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[lock.fileno()],
            cwd=Path(__file__).parents[2],
            start_new_session=True,
        )
        folder.mkdir(parents=True)
        traces.remember(folder)

    def start(self) -> None:
        """Until every node is ready; 6 s on an idle machine of two cores."""
        center = self._center = self._sandbox()
        self._nodes = [
            Node(self.place, number, name, self._binaries, self._sandbox)
            for number, name in enumerate(self.names)
        ]
        self._connect()
        self.plane = self._control_plane(center)
        self.plane.start()
        for node in self._nodes:
            node.write_files(self.plane)
        (self._folder / "Corefile").write_text(corefile(self.plane.kubeconfig(ADMIN)))
        dns = [str(self._binaries / "coredns"), "-conf", str(self._folder / "Corefile")]
        center.start(dns, self._folder / "coredns.log")
        with ThreadPoolExecutor() as together:
            list(together.map(Node.start, self._nodes))
        self.plane.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=120s")

    def stop(self) -> None:
        """Without a trace."""
        for sandbox in self._sandboxes:
            sandbox.close()
        assert self._remover.stdin
        self._remover.stdin.close()
        assert self._remover.wait() == 0

    def node(self, name: str) -> Node:
        """One of `names`."""
        return self._nodes[self.names.index(name)]

    def load(self, archive: Path, *names: str) -> None:
        """An image (an archive of docker or OCI) into some nodes, or into every one."""
        with ThreadPoolExecutor() as together:
            list(together.map(lambda name: self.node(name).load(archive), names or self.names))

    def lose(self, name: str) -> None:
        """Nobody reaches the node any more; what runs there goes on."""
        self._center.run("ip", "link", "set", f"node{self.names.index(name)}", "down")

    def back(self, name: str) -> None:
        """The node is reached again."""
        self._center.run("ip", "link", "set", f"node{self.names.index(name)}", "up")

    @contextmanager
    def outside(self, address: str, *ports: int) -> Iterator[None]:
        """Meanwhile something that is no node and no pod takes connections at an address."""
        center, log = self._center, self._folder / f"outside-{address}.log"
        center.run("ip", "address", "add", f"{address}/32", "dev", "lo")
        listening = center.start([sys.executable, "-c", LISTEN, address, *map(str, ports)], log)
        try:
            yield
        finally:
            listening.kill()
            center.run("ip", "address", "delete", f"{address}/32", "dev", "lo")

    def _sandbox(self, *setup: str) -> Sandbox:
        sandbox = Sandbox(*setup)
        self._sandboxes.append(sandbox)
        assert self._remover.stdin
        self._remover.stdin.write(f"{sandbox.pid}\n".encode())
        self._remover.stdin.flush()
        return sandbox

    def _connect(self) -> None:
        """One bridge; the machine and each node hang on it; everything is routed, nothing translated."""
        center = self._center
        center.run("ip", "link", "add", "nodes", "type", "bridge")
        center.run("ip", "address", "add", f"{self.place.center}/24", "dev", "nodes")
        center.run("ip", "link", "set", "nodes", "up")
        _ip(
            "link",
            "add",
            self.place.link,
            "type",
            "veth",
            "peer",
            "name",
            "machine",
            "netns",
            str(center.pid),
        )
        _ip("address", "add", f"{self.place.machine}/24", "dev", self.place.link)
        _ip("link", "set", self.place.link, "up")
        center.run("ip", "link", "set", "machine", "up", "master", "nodes")
        for node in self._nodes:
            port = f"node{node.number}"
            peer = ("peer", "name", port, "netns", str(center.pid))
            _ip("link", "add", "eth0", "netns", str(node.sandbox.pid), "type", "veth", *peer)
            center.run("ip", "link", "set", port, "up", "master", "nodes")
            node.connect([other for other in self._nodes if other is not node])
            for run in (center.run, _run):
                run("ip", "route", "add", node.pods, "via", node.address)

    def _control_plane(self, center: Sandbox) -> ControlPlane:
        people = [f'{node.token},system:node:{node.name},{node.name},"system:nodes"' for node in self._nodes]
        folder = self._folder / "control-plane"
        folder.mkdir()
        site = Site(
            start=center.start,
            address=self.place.center,
            port=API_PORT,
            people=(*people, f"{PROXY},system:kube-proxy,proxy"),
            api_flags=("--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction"),
            controller_flags=(
                f"--root-ca-file={folder}/certs/apiserver.crt",
                "--use-service-account-credentials=true",
                "--node-monitor-period=1s",
            ),
        )
        return ControlPlane(self._binaries, folder, site)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _ip(*words: str) -> None:
    _run("ip", *words)
