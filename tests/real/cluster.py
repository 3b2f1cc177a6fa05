"""What tests do with a real cluster: `real_cluster` of tests/conftest.py gives one to all of them.

with real_cluster.namespace("queue") as namespace:
    real_cluster.mutate(namespace, "llm-tinyllama", {"spec": {"containers": [{"name": "vllm", "image": "no/such"}]}})
    real_cluster.install_bot(namespace, {"IDLE_WINDOW": "1m", …})
    real_cluster.console(namespace, "deploy tinyllama", "status")
    real_cluster.lose("gpu-node-1")
"""  # noqa: E501

import itertools
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tests.real import bot_rights, policies
from tests.real.images import ENGINE, mounted
from tests.real.missing import without_part
from tests.real.nodes import Nodes

Json = dict[str, Any]
PATIENCE = 240.0


class RealCluster:
    """One with nodes that really run pods. `nodes` are ours, None on a cluster that somebody else started."""

    def __init__(
        self, kubeconfig: Path, folder: Path, machine: str, load: Callable[..., None], nodes: Nodes | None
    ) -> None:
        self.kubeconfig = kubeconfig
        """An admin's."""
        self.machine = machine
        """The address of this machine, as pods reach it."""
        self.load = load
        """Bring an image (an archive of docker or OCI) to these nodes of ours, or to all."""
        self.somebodys = nodes is None
        """Somebody else started it."""
        self._folder = folder
        path = f"{os.environ.get('KUBEBUILDER_ASSETS', '')}:{os.environ['PATH']}"
        self._kubectl = shutil.which("kubectl", path=path) or without_part("there is no kubectl")
        self._nodes = nodes
        self._numbers = itertools.count(1)
        self._lost: set[str] = set()
        self._killed: list[tuple[str, str]] = []

    def kubectl(self, *words: str, stdin: str = "", check: bool = True, seconds: float = PATIENCE) -> str:
        """As admin; what it prints. AssertionError if it fails, TimeoutExpired if it does not end."""
        done = subprocess.run(
            [self._kubectl, f"--kubeconfig={self.kubeconfig}", *words],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
            env=os.environ | {"NO_PROXY": "*"},
        )
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(words)}: {done.stderr}{done.stdout}")
        return done.stdout + done.stderr

    def get(self, namespace: str, *words: str) -> Json:
        """`kubectl get` as JSON."""
        found: Json = json.loads(self.kubectl("get", *words, f"--namespace={namespace}", "--output=json"))
        return found

    def pods(self, namespace: str, label: str = "") -> list[Json]:
        """Those with a label, such as `llm-bot/workload=llm-tinyllama`."""
        return list(self.get(namespace, "pods", f"--selector={label}")["items"])

    @contextmanager
    def namespace(self, name: str) -> Iterator[str]:
        """A fresh one of this name; at the end it is gone, its GPUs are free and all nodes are well."""
        name = f"w{next(self._numbers)}-{name}"
        self.kubectl("create", "namespace", name)
        self._until(lambda: self._has(name, "serviceaccount", "default"), "the ServiceAccount is there")
        try:
            yield name
        finally:
            self._end(name)

    def mutate(self, namespace: str, workload: str, patch: Json) -> str:
        """From now on each new pod of a workload (`llm-tinyllama`; `*`: of all models; `llm-bot`) is changed
        by `patch`, see `policies.policy`; the policy's name."""
        name = f"{namespace}-{next(self._numbers)}"
        made = policies.policy(name, (namespace,), workload, patch)
        self.kubectl("apply", "-f", "-", stdin=json.dumps(made))
        self._until_in_force(namespace, name, policies.probe(name, workload, patch))
        return name

    def forget(self, policy: str) -> None:
        """The end of a change; pods that are made within a second may still get it."""
        kinds = "mutatingadmissionpolicies,mutatingadmissionpolicybindings"
        self.kubectl("delete", kinds, policy, "--ignore-not-found")

    def install_bot(self, namespace: str, env: dict[str, str], egress: bool = False) -> None:
        """As docs/operate.md says, with these lines in `.env`, and with the component `egress` if that is
        wanted; returns when its pod is ready."""
        lines = "".join(f"{name}={value}\n" for name, value in env.items())
        bot_rights.apply(self, self._folder, namespace, lines, "llm-bot:test", egress)
        wait = f"--timeout={PATIENCE:.0f}s"
        self.kubectl("rollout", "status", "deployment/llm-bot", f"--namespace={namespace}", wait)

    def console(self, namespace: str, *lines: str, seconds: float = PATIENCE) -> str:
        """What `kubectl exec … python -m bot run --platform console` prints to these lines."""
        run = ("--", "python", "-m", "bot", "run", "--platform", "console")
        words = ("exec", "--stdin", f"--namespace={namespace}", "deployment/llm-bot", *run)
        return self.kubectl(*words, stdin="\n".join(lines), seconds=seconds)

    @contextmanager
    def forwarded(self, namespace: str, to: str, port: int) -> Iterator[str]:
        """An address on this machine that leads to a port of `service/llm-bot` or another thing."""
        words = ("port-forward", to, f":{port}", f"--namespace={namespace}", "--address=127.0.0.1")
        with subprocess.Popen(
            [self._kubectl, f"--kubeconfig={self.kubeconfig}", *words], stdout=subprocess.PIPE, text=True
        ) as forwarding:
            assert forwarding.stdout
            try:
                said = forwarding.stdout.readline()  # Forwarding from 127.0.0.1:40000 -> 8080
                yield f"http://{said.split()[2]}"
            finally:
                forwarding.terminate()

    @contextmanager
    def watched(self, namespace: str, label: str, output: str) -> Iterator[IO[str]]:
        """The lines that `kubectl get pods --watch` prints, as they come."""
        words = ("get", "pods", "--watch", f"--selector={label}", f"--namespace={namespace}")
        with subprocess.Popen(
            [self._kubectl, f"--kubeconfig={self.kubeconfig}", *words, f"--output={output}"],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"NO_PROXY": "*"},
        ) as watching:
            assert watching.stdout
            try:
                yield watching.stdout
            finally:
                watching.terminate()

    @property
    def own_nodes(self) -> Nodes:
        """Nodes that may be harmed; only those that we started."""
        return self._nodes or without_part("only nodes of our own may be harmed: unset KUBECONFIG")

    def lose(self, node: str) -> None:
        """Nobody reaches the node any more; what runs there goes on."""
        self.own_nodes.lose(node)
        self._lost.add(node)

    def back(self, node: str) -> None:
        """The node is reached again."""
        self.own_nodes.back(node)
        self._lost.discard(node)

    def kill(self, node: str, process: str) -> None:
        """kill -9 of `kubelet`, `containerd`, `kube-proxy` or `kube-router`."""
        self.own_nodes.node(node).send(process, signal.SIGKILL)
        self._killed.append((node, process))

    def start(self, node: str, process: str) -> None:
        """Start again what was killed."""
        self.own_nodes.node(node).launch(process)
        self._killed.remove((node, process))

    def kill_container(self, pod: Json) -> None:
        """kill -9 of the one container of a pod; the kubelet has not asked for it."""
        [status] = pod["status"]["containerStatuses"]
        self.own_nodes.node(pod["spec"]["nodeName"]).kill_container(status["containerID"].partition("//")[2])

    def use_real_vllm(self, vllm: Path) -> None:
        """From now on the pods of models, in all namespaces, see this machine's vLLM, ask for little and have
        room in /dev/shm."""
        name, patch = "real-vllm", _real_vllm(mounted(vllm))
        self.kubectl("apply", "-f", "-", stdin=json.dumps(policies.policy(name, (), "*", patch)))
        self._until_in_force("default", name, policies.probe(name, "*", patch))

    def runs_engines(self, vllm: Path) -> bool:
        """Whether a pod of a model can run this vLLM."""
        pod = policies.probe("vllm", "*", {})
        pod["spec"] |= {"restartPolicy": "Never", "tolerations": [{"operator": "Exists"}]}
        pod["spec"]["containers"][0] |= {"image": ENGINE, "command": ["test", "-x", str(vllm)]}
        with self.namespace("probe") as namespace:
            self.kubectl("create", f"--namespace={namespace}", "-f", "-", stdin=json.dumps(pod))
            ended = ("wait", "pod", "--all", f"--namespace={namespace}", "--timeout=60s")
            phase = "--for=jsonpath={.status.phase}=Succeeded"
            return "condition met" in self.kubectl(*ended, phase, check=False)

    def _until_in_force(self, namespace: str, name: str, pod: Json) -> None:
        """A new policy is in force some tenths of a second after it was made."""
        create = ("create", "--dry-run=server", "--output=json", f"--namespace={namespace}", "-f", "-")

        def known() -> bool:
            said = self.kubectl(*create, stdin=json.dumps(pod), check=False)
            assert "denied request" not in said, said
            return policies.MARK + name in said or "is invalid" in said  # which it was not before

        self._until(known, f"the policy {name} is in force: {pod}")

    def _has(self, namespace: str, kind: str, name: str) -> bool:
        found = self.kubectl("get", kind, name, f"--namespace={namespace}", "--output=name", check=False)
        return f"/{name}" in found and "not found" not in found

    def _end(self, namespace: str) -> None:
        here = f"--namespace={namespace}"
        for lost in sorted(self._lost):
            self.back(lost)
        for killed in sorted(self._killed):  # containerd before kubelet, which needs it
            self.start(*killed)
        for found in self.kubectl("get", "mutatingadmissionpolicies", "--output=name").split():
            if found.partition("/")[2].startswith(f"{namespace}-"):
                self.forget(found.partition("/")[2])
        self.kubectl("delete", "deployments", "--all", here, "--cascade=orphan")
        self.kubectl("delete", "replicasets", "--all", here, "--cascade=orphan")
        self.kubectl("delete", "pods", "--all", here, "--grace-period=1")
        self.kubectl("delete", "namespace", namespace, "--timeout=120s")
        bot_rights.forget(self, namespace)

    def _until(self, true: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < end, f"not yet: {what}"
            time.sleep(0.1)


def _real_vllm(folders: list[Path]) -> Json:
    names = [f"real-vllm-{number}" for number in range(len(folders))]
    places = list(zip(names, map(str, folders), strict=True))
    volumes: list[Json] = [{"name": name, "hostPath": {"path": path}} for name, path in places]
    volumes.append({"name": "real-vllm-shm", "emptyDir": {"medium": "Memory"}})
    mounts: list[Json] = [{"name": name, "mountPath": path, "readOnly": True} for name, path in places]
    mounts.append({"name": "real-vllm-shm", "mountPath": "/dev/shm"})
    vllm = {
        "name": "vllm",
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
        "volumeMounts": mounts,
    }
    return {"spec": {"volumes": volumes, "containers": [vllm]}}
