"""What tests do to a real cluster really happens."""

import json
from typing import Any

import pytest

from tests.conftest import eventually
from tests.real.cluster import RealCluster

PAUSE = "localhost/pause:1"


def pod(workload: str, name: str = "vllm") -> str:
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: one, labels: {{llm-bot/workload: {workload}}}}}
spec:
  nodeSelector: {{kubernetes.io/hostname: gpu-node-1}}
  tolerations: [{{operator: Exists}}]
  containers:
    - {{name: side, image: {PAUSE}}}
    - {{name: {name}, image: {PAUSE}, command: [/pause], args: [a], env: [{{name: A, value: "1"}}]}}
"""


@pytest.mark.parametrize("workload", ["llm-mine", "*"])
def test_a_change_of_a_workloads_pods(real_cluster: RealCluster, workload: str) -> None:
    changed: dict[str, Any] = {
        "name": "vllm",
        "command": ["sh", "-c", 'exit "3"'],
        "args": [],
        "env": [{"name": "B", "value": "2"}],
        "resources": {"limits": {"memory": "65Mi"}},
        "readinessProbe": {"exec": {"command": ["false"]}, "periodSeconds": 2},
        "volumeMounts": [{"name": "room", "mountPath": "/room"}],
    }
    toleration = {"key": "mine", "operator": "Exists"}
    volumes = [{"name": "room", "emptyDir": {}}]
    with real_cluster.namespace("change") as namespace:
        spec = {"containers": [changed], "volumes": volumes, "tolerations": [toleration]}
        real_cluster.mutate(namespace, workload, {"spec": spec})
        create = ("create", f"--namespace={namespace}", "--dry-run=server", "--output=json", "-f", "-")
        made = json.loads(real_cluster.kubectl(*create, stdin=pod("llm-mine")))
        [side, vllm] = made["spec"]["containers"]
        assert (vllm["command"], vllm.get("args", [])) == (changed["command"], [])
        assert {"name": "A", "value": "1"} in vllm["env"] and {"name": "B", "value": "2"} in vllm["env"]
        assert vllm["resources"]["limits"] == {"memory": "65Mi"}
        assert vllm["readinessProbe"]["exec"] == {"command": ["false"]}
        assert "room" in [mount["name"] for mount in vllm["volumeMounts"]]
        assert "mine" in [toleration.get("key") for toleration in made["spec"]["tolerations"]]
        assert "command" not in side
        other = real_cluster.kubectl(*create, stdin=pod("llm-other"))
        assert ('"65Mi"' in other) == (workload == "*")


async def test_kubelet_and_containerd_end_and_start_while_pods_go_on(real_cluster: RealCluster) -> None:
    with real_cluster.namespace("restart") as namespace:
        here = f"--namespace={namespace}"
        real_cluster.kubectl("create", here, "-f", "-", stdin=pod("llm-mine"))
        real_cluster.kubectl("wait", "--for=condition=Ready", "pod/one", here, "--timeout=120s")
        for process in ("kubelet", "containerd"):
            real_cluster.kill("gpu-node-1", process)
            real_cluster.start("gpu-node-1", process)
        node = real_cluster.get(namespace, "node", "gpu-node-1")
        assert node["status"]["allocatable"]["nvidia.com/gpu"] == "4"
        [one] = real_cluster.pods(namespace)
        assert [status["restartCount"] for status in one["status"]["containerStatuses"]] == [0, 0]

        real_cluster.lose("gpu-node-1")
        said = real_cluster.kubectl("logs", "one", "--container=vllm", here, check=False, seconds=60)
        assert said.startswith("Error from server"), said
        real_cluster.back("gpu-node-1")
        logs = ("logs", "one", "--container=vllm", here)
        await eventually(lambda: real_cluster.kubectl(*logs, check=False, seconds=60) == "")
