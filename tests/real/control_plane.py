"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler, from KUBEBUILDER_ASSETS."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Protocol

ADMIN = "admin-token"
AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
        {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
        {"level": "None"},
    ],
}
"""Every request of the bot is written down."""
FAST = ("--kube-api-qps=500", "--kube-api-burst=500")  # the default of 20 a second is for big clusters

START_SECONDS = 240
"""A busy machine takes its time; an idle one needs five."""


class Process(Protocol):
    """One that goes on until it is killed."""

    def send_signal(self, what: signal.Signals, /) -> None: ...

    def kill(self) -> None: ...

    def poll(self) -> int | None: ...

    def wait(self) -> int: ...


def start_here(command: list[str], log: Path) -> Process:
    """As a process of this machine."""
    with log.open("ab") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, cwd=log.parent)


@dataclass(frozen=True)
class Site:
    """Where a control plane runs; by default on loopback, for nodes that are none."""

    start: Callable[[list[str], Path], Process] = start_here
    """Starts a command that logs to a file."""
    address: str = "127.0.0.1"
    """Of the API."""
    port: int = 0
    """Of the API; 0: one that is free on this machine."""
    people: tuple[str, ...] = ()
    """More of them: lines of `token,name,uid,"group"`."""
    api_flags: tuple[str, ...] = ("--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount")
    controller_flags: tuple[str, ...] = ()


HERE = Site()


class ControlPlane:
    """One cluster in a folder; `kubeconfig(token)` writes a way in."""

    def __init__(self, binaries: Path, folder: Path, site: Site = HERE) -> None:
        self._binaries = binaries
        self._folder = folder
        self._site = site
        self._processes: list[Process] = []
        self._etcd, self._peer, free = (_free_port() for _ in range(3))
        self.port = site.port or free
        self.url = f"https://{site.address}:{self.port}"

    def start(self) -> None:
        """Start everything; returns when the API is ready."""
        self._make_keys()
        people = (f'{ADMIN},admin,admin,"system:masters"', *self._site.people)
        (self._folder / "tokens.csv").write_text("\n".join(people) + "\n")
        self._database = self._run(
            "etcd",
            f"--data-dir={self._folder}/etcd",
            f"--listen-client-urls=http://127.0.0.1:{self._etcd}",
            f"--advertise-client-urls=http://127.0.0.1:{self._etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{self._peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{self._peer}",
            f"--initial-cluster=default=http://127.0.0.1:{self._peer}",
            "--unsafe-no-fsync",
        )
        self.start_api_server()
        admin = self.kubeconfig(ADMIN)
        self._run(
            "kube-controller-manager",
            f"--kubeconfig={admin}",
            "--leader-elect=false",
            f"--service-account-private-key-file={self._folder}/sa.key",
            "--pvclaimbinder-sync-period=1s",  # a claim that is seen before its volume waits for this
            f"--flex-volume-plugin-dir={self._folder}/volume-plugins",  # else it makes one in /usr
            *FAST,
            *self._no_ports("kube-controller-manager"),
            *self._site.controller_flags,
        )
        ports = self._no_ports("kube-scheduler")
        self._run("kube-scheduler", f"--kubeconfig={admin}", "--leader-elect=false", *FAST, *ports)

    def _no_ports(self, name: str) -> list[str]:
        """Two control planes may run at once: nothing listens on ports of its own choice."""
        known = subprocess.run([self._program(name), "--help"], capture_output=True, text=True, check=False)
        return ["--secure-port=0", *(["--port=0"] if "--port int" in known.stdout else [])]

    def start_api_server(self) -> None:
        """Start it, or start it again on the same port and data."""
        folder = self._folder
        (folder / "audit.json").write_text(json.dumps(AUDIT))
        self._api = self._run(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._etcd}",
            f"--cert-dir={folder}/certs",
            f"--bind-address={self._site.address}",
            f"--secure-port={self.port}",
            f"--service-account-key-file={folder}/sa.pub",
            f"--service-account-signing-key-file={folder}/sa.key",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.96.0.0/16",
            f"--token-auth-file={folder}/tokens.csv",
            "--allow-privileged=true",
            "--kubelet-preferred-address-types=InternalIP",
            f"--audit-policy-file={folder}/audit.json",
            f"--audit-log-path={folder}/audit.log",
            *self._site.api_flags,
        )
        self._wait_until_ready()

    def lists(self) -> int:
        """How many LISTs ServiceAccounts have asked for."""
        return sum(request["verb"] == "list" for request in self.requests())

    def requests(self) -> list[dict[str, Any]]:
        """Those of ServiceAccounts, as the API server writes them down."""
        return [json.loads(line) for line in (self._folder / "audit.log").read_text().splitlines()]

    def stop_api_server(self) -> None:
        """Stop only the API server, as in an upgrade."""
        self._api.kill()
        self._api.wait()

    def freeze_etcd(self) -> None:
        """From now on the database answers nothing; what it is asked waits."""
        self._database.send_signal(signal.SIGSTOP)

    def thaw_etcd(self) -> None:
        """It goes on, with what it was asked meanwhile."""
        self._database.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Stop everything."""
        for process in reversed(self._processes):
            process.kill()
            process.wait()

    def kubeconfig(self, token: str) -> Path:
        """A kubeconfig that logs in with a token; written once, since programs read it meanwhile."""
        file = self._folder / f"kubeconfig-{abs(hash(token))}"
        if file.exists():
            return file
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url, "insecure-skip-tls-verify": True}}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        }
        with NamedTemporaryFile("w", dir=self._folder, delete=False) as whole:
            json.dump(content, whole)
        return Path(whole.name).replace(file)

    def kubectl(self, *arguments: str, stdin: str = "", check: bool = True) -> str:
        """Run kubectl as admin; its output."""
        done = subprocess.run(
            [self._program("kubectl"), f"--kubeconfig={self.kubeconfig(ADMIN)}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr}")
        return done.stdout + done.stderr

    def _make_keys(self) -> None:
        key = self._folder / "sa.key"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        public = ["openssl", "rsa", "-in", str(key), "-pubout", "-out", str(self._folder / "sa.pub")]
        subprocess.run(public, check=True, capture_output=True)

    def _program(self, name: str) -> str:
        """KUBEBUILDER_ASSETS need not hold all of them: those of envtest lack what PATH may have."""
        found = shutil.which(name, path=f"{self._binaries}:{os.environ['PATH']}")
        assert found, f"{name} is neither in {self._binaries} nor on PATH: `make parts` builds it"
        return found

    def _run(self, name: str, *flags: str) -> Process:
        process = self._site.start([self._program(name), *flags], self._folder / f"{name}.log")
        self._processes.append(process)
        return process

    def _wait_until_ready(self) -> None:
        patience = time.monotonic() + START_SECONDS
        while time.monotonic() < patience:
            if self._api.poll() is not None:
                tail = (self._folder / "kube-apiserver.log").read_text()[-2000:]
                raise AssertionError(f"kube-apiserver ended: {tail}")
            if "ok" in self.kubectl("get", "--raw", "/readyz", check=False)[:20]:
                return
            time.sleep(0.1)
        raise AssertionError("kube-apiserver did not become ready")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
