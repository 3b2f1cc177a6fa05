"""Builds what nodes need, from published Go modules: runtime, pod network, DNS, enforcer of policies."""

import hashlib
import io
import json
import os
import tarfile
import tempfile
from pathlib import Path

from tests.real.recipes.go import build, go

CONTAINERD = "github.com/containerd/containerd/v2"
PLUGINS = "github.com/containernetworking/plugins"
ROUTER = "github.com/cloudnativelabs/kube-router/v2"
COREDNS = "github.com/coredns/coredns"
VERSIONS = {CONTAINERD: "v2.4.2", PLUGINS: "v1.10.0", ROUTER: "v2.1.0", COREDNS: "v1.14.7"}
DNS = f"""package main

import (
	_ "{COREDNS}/plugin/cache"
	_ "{COREDNS}/plugin/errors"
	_ "{COREDNS}/plugin/kubernetes"

	"{COREDNS}/core/dnsserver"
	"{COREDNS}/coremain"
)

func main() {{
	dnsserver.Directives = []string{{"errors", "cache", "kubernetes"}}
	coremain.Run()
}}
"""
PAUSE = """package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGINT, syscall.SIGTERM)
	<-end
}
"""
"""What holds a pod's namespaces: it waits until it is told to end."""
PAUSE_IMAGE = "localhost/pause:1"


def build_node_parts(folder: Path) -> None:
    """All but kubelet and kube-proxy, which are Kubernetes' own, into a folder."""
    (folder / "cni").mkdir()
    with tempfile.TemporaryDirectory() as work:
        for module, programs in {
            CONTAINERD: {name: f"cmd/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")},
            PLUGINS: {
                f"cni/{Path(path).name}": f"plugins/{path}"
                for path in ("main/bridge", "main/loopback", "ipam/host-local", "meta/portmap")
            },
            ROUTER: {"kube-router": "cmd/kube-router"},
        }.items():
            here = _module(Path(work), module)
            for name, path in programs.items():
                build(here, folder / name, f"{module}/{path}", tags="no_btrfs,no_zfs,no_devmapper")
        here = _module(Path(work), COREDNS)
        (here / "main.go").write_text(DNS)
        go(here, "get", ".")
        build(here, folder / "coredns", ".")
        _build_pause(Path(work) / "pause", folder / "pause.tar")


def _module(work: Path, module: str) -> Path:
    """A module of our own that requires one, with all that its programs need."""
    here = work / module.replace("/", "-")
    here.mkdir()
    (here / "go.mod").write_text("module parts\n")
    go(here, "get", f"{module}@{VERSIONS[module]}")
    return here


def _build_pause(work: Path, archive: Path) -> None:
    """An image of one file, as `docker save` writes it."""
    work.mkdir()
    (work / "go.mod").write_text("module pause\n")
    (work / "main.go").write_text(PAUSE)
    build(work, work / "pause", ".")
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add(work / "pause", "pause")
    machine = os.uname().machine
    config = {
        "os": "linux",
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine),
        "config": {"Entrypoint": ["/pause"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [PAUSE_IMAGE], "Layers": ["layer.tar"]}]
    with tarfile.open(archive, "w") as tar:
        for name, content in (
            ("config.json", json.dumps(config).encode()),
            ("layer.tar", layer.getvalue()),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
