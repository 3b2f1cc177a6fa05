"""A node: containerd, kubelet, kube-proxy and kube-router in a sandbox of their own."""

import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.real import traces
from tests.real.control_plane import ADMIN, ControlPlane
from tests.real.node_files import SERVICES, NodeFiles
from tests.real.place import PODS, Place
from tests.real.sandbox import Inside, Sandbox

GPUS = 4
"""Of each GPU node."""
PROXY = "proxy-token"
"""What kube-proxy logs in with."""
GPU_NODE = (
    "--node-labels=nvidia.com/gpu.product=Tesla-V100-SXM2-16GB,nvidia.com/gpu.present=true",
    "--register-with-taints=nvidia.com/gpu=present:NoSchedule",
)
PATIENCE = 120.0
"""Seconds until something must have started."""


def own_var(folder: Path) -> list[str]:
    """What programs write to /var goes into a folder instead."""
    for name in ("var", "work", "kubelet"):
        (folder / name).mkdir(parents=True)
    overlay = f"lowerdir=/var,upperdir={folder}/var,workdir={folder}/work"
    return [
        f"mount -t overlay overlay -o {overlay} /var",
        "mkdir -p /var/lib/kubelet",
        f"mount --bind {folder}/kubelet /var/lib/kubelet",
    ]


class Node:
    """A node in its sandbox; `kubelet`, `containerd`, `kube-proxy` and `kube-router` are its processes."""

    def __init__(
        self, place: Place, number: int, name: str, binaries: Path, sandbox: Callable[..., Sandbox]
    ) -> None:
        self.number, self.name = number, name
        self.address = place.node(number)
        self.pods = place.pods(number)
        self._cgroup = f"{place.cgroups}{number}"
        self.token = f"{name}-token"
        self._place, self._binaries, self._folder = place, binaries, place.folder / name
        self._processes: dict[str, Inside] = {}
        self.sandbox = sandbox(*own_var(self._folder))

    def connect(self, others: list["Node"]) -> None:
        """Its address, and the ways to the pods of the others."""
        run = self.sandbox.run
        run("ip", "address", "add", f"{self.address}/24", "dev", "eth0")
        run("ip", "link", "set", "eth0", "up")
        run("ip", "route", "add", "default", "via", self._place.center)
        run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        for other in others:
            run("ip", "route", "add", other.pods, "via", other.address)

    def write_files(self, plane: ControlPlane) -> None:
        """What its processes read, and its own root among the cgroups."""
        for hierarchy in traces.hierarchies():
            _make_cgroup(hierarchy, self._cgroup)
        files = NodeFiles(self._folder, self._binaries, self._place.center, self.pods, f"/{self._cgroup}")
        files.write()
        self._commands = self._all_commands(plane, files)
        self._plane = plane

    def _all_commands(self, plane: ControlPlane, files: NodeFiles) -> dict[str, list[str]]:
        """Of its processes, by their name."""
        name = f"--hostname-override={self.name}"
        return {
            "containerd": [f"--config={files.containerd}"],
            "kubelet": [
                f"--config={files.kubelet}",
                f"--kubeconfig={plane.kubeconfig(self.token)}",
                f"--node-ip={self.address}",
                name,
                *(GPU_NODE if self.number else []),
            ],
            "kube-proxy": [
                f"--kubeconfig={plane.kubeconfig(PROXY)}",
                "--proxy-mode=iptables",
                f"--cluster-cidr={PODS}",
                "--conntrack-max-per-core=0",  # else it sets the kernel's limit
                "--conntrack-tcp-timeout-established=0s",
                "--conntrack-tcp-timeout-close-wait=0s",
                name,
            ],
            "kube-router": [
                f"--kubeconfig={plane.kubeconfig(ADMIN)}",
                "--run-firewall=true",
                "--run-router=false",
                "--run-service-proxy=false",
                "--run-loadbalancer=false",
                f"--service-cluster-ip-range={SERVICES}",
                "--health-port=0",
                name,
            ],
        }

    def start(self) -> None:
        """Its processes, one after the other; its GPUs are announced as a device plugin would."""
        self.launch("containerd")
        self.load(self._binaries / "pause.tar")
        self.launch("kubelet")
        self.launch("kube-proxy")
        self.launch("kube-router")

    def launch(self, process: str) -> None:
        """Start one of its processes, and wait until it is of use."""
        path = f"PATH={self._binaries}:{os.environ['PATH']}"
        command = ["env", path, str(self._binaries / process), *self._commands[process]]
        self._processes[process] = self.sandbox.start(command, self._folder / f"{process}.log")
        if process == "containerd":
            self._until(lambda: "Server" in self._ctr("version", check=False), "containerd answers")
        if process == "kubelet":
            health = ("get", "--raw", f"/api/v1/nodes/{self.name}/proxy/healthz")
            self._until(lambda: self._plane.kubectl(*health, check=False) == "ok", "kubelet is well")
            self._announce()

    def send(self, process: str, what: signal.Signals) -> None:
        """A signal to one of its processes."""
        self._processes[process].send_signal(what)
        if what is signal.SIGKILL:
            self._processes[process].wait()

    def _announce(self) -> None:
        """So many GPUs; a kubelet that is started again forgets them."""
        if not self.number:
            return
        gpus = {"nvidia.com/gpu": str(GPUS)}
        patch = json.dumps({"status": {"capacity": gpus, "allocatable": gpus}})
        words = ("patch", "node", self.name, "--subresource=status", "--type=merge", f"--patch={patch}")
        self._until(lambda: "patched" in self._plane.kubectl(*words, check=False), "it has GPUs")

    def kill_container(self, container: str) -> None:
        """kill -9 of its first process, by the container's id; nothing happens if it has ended."""
        self._ctr("tasks", "kill", "--signal=SIGKILL", container, check=False)

    def load(self, archive: Path) -> None:
        """An image (an archive of docker or OCI)."""
        self._ctr("images", "import", "--local", str(archive))

    def _ctr(self, *words: str, check: bool = True) -> str:
        return self.sandbox.run(str(self._binaries / "ctr"), "-n", "k8s.io", *words, check=check)

    def _until(self, true: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE
        while not true():
            for name, process in self._processes.items():
                if process.poll() is not None:
                    log = (self._folder / f"{name}.log").read_text()
                    raise AssertionError(f"{self.name}: {name} ended: {log[-2000:]}")
            assert time.monotonic() < end, f"{self.name}: not yet after {PATIENCE:.0f} s: {what}"
            time.sleep(0.1)


def _make_cgroup(hierarchy: Path, name: str) -> None:
    """With all that its parent has: processors with version 1, controllers with version 2."""
    processors, controllers = hierarchy / "cgroup.clone_children", hierarchy / "cgroup.controllers"
    if processors.exists():
        processors.write_text("1")
    if controllers.exists():
        for controller in controllers.read_text().split():
            with suppress(OSError):  # some are of the whole machine alone
                (hierarchy / "cgroup.subtree_control").write_text(f"+{controller}")
    (hierarchy / name).mkdir()
