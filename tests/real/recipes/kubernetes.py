"""Builds a Kubernetes, and what nodes need, from published Go modules: Go and a module proxy are enough.

The repository of `k8s.io/kubernetes` holds its libraries (`k8s.io/api` and others) as folders, which its
go.mod puts in their place. Each is published as a module, too: 0.37.2 belongs to Kubernetes 1.37.2."""

import json
import shutil
import tempfile
from pathlib import Path

from tests.real.recipes.failure import RecipeFailed
from tests.real.recipes.go import build as build_program
from tests.real.recipes.go import go
from tests.real.recipes.nodes import build_node_parts

VERSION = "1.37.2"
PROGRAMS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubectl",
    "kubelet",
    "kube-proxy",
)
ETCD = "go.etcd.io/etcd/server/v3"
"""In the version that this Kubernetes is tested with: it is among what Kubernetes requires."""


def build(folder: Path) -> None:
    """Build all of it into the folder: 15 to 20 minutes on two cores; RecipeFailed without Go."""
    if shutil.which("go") is None:
        raise RecipeFailed("Kubernetes is built with Go 1.26 or newer, and there is no go command")
    with tempfile.TemporaryDirectory() as work:
        module = Path(work)
        _write_module(module)
        build_program(module, folder / "etcd", ETCD)
        for program in PROGRAMS:
            build_program(module, folder / program, f"k8s.io/kubernetes/cmd/{program}", _flags())
    build_node_parts(folder)


def _write_module(folder: Path) -> None:
    """A module of our own that requires Kubernetes, with its libraries from where they are published."""
    (folder / "go.mod").write_text("module parts\n")
    source = Path(json.loads(go(folder, "mod", "download", "-json", f"k8s.io/kubernetes@v{VERSION}"))["Dir"])
    upstream = json.loads(go(folder, "mod", "edit", "-json", str(source / "go.mod")))
    libraries = [replaced["Old"]["Path"] for replaced in upstream["Replace"]]
    published = f"v0{VERSION.removeprefix('1')}"
    lines = [
        "module parts",
        f"go {upstream['Go']}",
        f"require k8s.io/kubernetes v{VERSION}",
        *(f"replace {library} => {library} {published}" for library in libraries),
    ]
    (folder / "go.mod").write_text("\n".join(lines) + "\n")
    shutil.copyfile(source / "go.sum", folder / "go.sum")


def _flags() -> str:
    """The linker's: what a program says when it is asked for its version."""
    major, minor, _ = VERSION.split(".")
    told = {"gitVersion": f"v{VERSION}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in told.items())
