"""What the processes of a node read."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SERVICES = "10.96.0.0/16"
CONTAINERD = "/run/containerd/containerd.sock"
"""Each node has a /run of its own."""


@dataclass(frozen=True)
class NodeFiles:
    """Files in the folder of a node."""

    folder: Path
    binaries: Path
    dns: str
    """The address of the DNS server."""
    pods: str
    """The addresses of its pods."""
    cgroup: str
    """Its kubelet tidies only below this one."""

    @property
    def containerd(self) -> Path:
        """The configuration of containerd."""
        return self.folder / "containerd.toml"

    @property
    def kubelet(self) -> Path:
        """The configuration of the kubelet."""
        return self.folder / "kubelet.yaml"

    def write(self) -> None:
        """All of them."""
        (self.folder / "cni").mkdir()
        (self.folder / "cni" / "10-pods.conflist").write_text(json.dumps(self._network()))
        (self.folder / "resolv.conf").write_text(f"nameserver {self.dns}\n")
        self.containerd.write_text(self._containerd())
        self.kubelet.write_text(yaml.safe_dump(self._kubelet()))

    def _network(self) -> dict[str, Any]:
        ipam = {
            "type": "host-local",
            "dataDir": f"{self.folder}/addresses",
            "ranges": [[{"subnet": self.pods}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        }
        bridge = {"type": "bridge", "bridge": "pods", "isGateway": True, "hairpinMode": True, "ipam": ipam}
        ports = {"type": "portmap", "capabilities": {"portMappings": True}}
        return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, ports]}

    def _containerd(self) -> str:
        return f"""
version = 3
root = "{self.folder}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.internal.v1.tracing"]
[grpc]
  address = "{CONTAINERD}"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "localhost/pause:1"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true # who lacks CAP_SYS_RESOURCE may not lower it
  netns_mounts_under_state_dir = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["{self.binaries}/cni"]
  conf_dir = "{self.folder}/cni"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
    BinaryName = "{shutil.which("runc")}"
"""

    def _kubelet(self) -> dict[str, Any]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": f"unix://{CONTAINERD}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": self.cgroup,
            "failCgroupV1": False,
            "failSwapOn": False,
            "enforceNodeAllocatable": [],
            "clusterDNS": [self.dns],
            "clusterDomain": "cluster.local",
            "resolvConf": f"{self.folder}/resolv.conf",
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},  # only this machine and its pods reach it
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "1%",
                "imagefs.available": "1%",
            },
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "volumePluginDir": f"{self.folder}/volume-plugins",
            "serializeImagePulls": False,
            "nodeStatusUpdateFrequency": "5s",
        }


def corefile(kubeconfig: Path) -> str:
    """The names of Services and pods, nothing else."""
    return f"""cluster.local in-addr.arpa {{
  errors
  cache 5
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {kubeconfig}
    pods insecure
  }}
}}
"""
