"""Builds a Kubernetes control plane from published Go modules: Go and a module proxy are all it needs.

The repository of `k8s.io/kubernetes` holds its libraries (`k8s.io/api` and others) as folders, which its
go.mod puts in their place. Each is published as a module, too: 0.37.2 belongs to Kubernetes 1.37.2."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.real.recipes.failure import RecipeFailed

VERSION = "1.37.2"
PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
ETCD = "go.etcd.io/etcd/server/v3"
"""In the version that this Kubernetes is tested with: it is among what Kubernetes requires."""
SETTINGS = {"GOFLAGS": "-mod=mod", "GOWORK": "off", "CGO_ENABLED": "0"}


def build(folder: Path) -> None:
    """Build etcd and `PROGRAMS` into the folder: 15 to 20 minutes on two cores; RecipeFailed without Go."""
    if shutil.which("go") is None:
        raise RecipeFailed("Kubernetes is built with Go 1.26 or newer, and there is no go command")
    with tempfile.TemporaryDirectory() as work:
        module = Path(work)
        _write_module(module)
        _build(module, folder / "etcd", ETCD)
        for program in PROGRAMS:
            _build(module, folder / program, f"k8s.io/kubernetes/cmd/{program}")


def _write_module(folder: Path) -> None:
    """A module of our own that requires Kubernetes, with its libraries from where they are published."""
    (folder / "go.mod").write_text("module parts\n")
    source = Path(json.loads(_go(folder, "mod", "download", "-json", f"k8s.io/kubernetes@v{VERSION}"))["Dir"])
    upstream = json.loads(_go(folder, "mod", "edit", "-json", str(source / "go.mod")))
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


def _build(module: Path, program: Path, package: str) -> None:
    print(f"building {program.name}", file=sys.stderr)
    major, minor, _ = VERSION.split(".")
    told = {"gitVersion": f"v{VERSION}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    flags = " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in told.items())
    _go(module, "build", "-trimpath", "-ldflags", f"-s -w {flags}", "-o", str(program), package)


def _go(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["go", *words], cwd=folder, env=os.environ | SETTINGS, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise RecipeFailed(f"go {' '.join(words[:2])} failed, see above")
    return done.stdout
