"""Nodes come and go without a trace, and say why they cannot."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import eventually
from tests.real import traces
from tests.real.missing import needed, without_part
from tests.real.nodes import Nodes, why_not
from tests.real.place import Place

ROOT = Path(__file__).parents[2]
BESIDE = Place(1)
"""Beside the cluster that other tests use."""


@pytest.fixture
def binaries() -> Path:
    found = Path(needed("KUBEBUILDER_ASSETS", "no real nodes to test against"))
    if reason := why_not(found, BESIDE.folder):
        without_part(reason)
    return found


def hold(binaries: Path) -> None:
    """What the killed process does: a cluster with a pod that runs."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    with BESIDE.alone() as lock:
        nodes = Nodes(binaries, BESIDE, lock, gpu_nodes=1)
        nodes.start()
        run = ("run", "one", "--image=localhost/pause:1", "--image-pull-policy=Never")
        while "created" not in nodes.plane.kubectl(*run, check=False):
            pass  # the namespace's ServiceAccount is not there yet
        nodes.plane.kubectl("wait", "--for=condition=Ready", "pod/one", "--timeout=120s")
        print("holds it", flush=True)
        sys.stdin.read()


def machine() -> set[str]:
    """What nodes could leave behind."""
    cgroups = [str(path) for root in traces.hierarchies() for path in root.glob("llm-bot-1*")]
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if str(BESIDE.folder) in line]
    links = [str(link) for link in Path("/sys/class/net").iterdir() if link.name == BESIDE.link]
    settings = [f"{name} {Path('/proc/sys', name).read_text()}" for name in traces.SETTINGS]
    places = ("/run", "/run/netns", "/var/lib", "/var/log", "/usr/libexec", "/tmp")
    files = [str(path) for place in places if Path(place).exists() for path in Path(place).glob("*kube*")]
    return {*cgroups, *mounts, *links, *settings, *files, *_processes(), *_routes(), *_firewall()}


def _processes() -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
        if str(BESIDE.folder) in command or ("containerd-shim" in command and "llm-bot" in command):
            found.append(command)
    return found


def _routes() -> list[str]:
    return subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout.splitlines()


def _firewall() -> list[str]:
    commands = (["iptables-save"], ["ipset", "list", "-name"])
    printed = [subprocess.run(c, capture_output=True, text=True, check=False).stdout for c in commands]
    lines = [line for text in printed for line in text.splitlines()]
    return [line for line in lines if not line.startswith("#") and "[" not in line]


def connected() -> socket.socket:
    """A client of the API server that stays; the kernel keeps the other side of it for a while."""
    kubeconfig = next((BESIDE.folder / "control-plane").glob("kubeconfig-*"))
    address = urlsplit(json.loads(kubeconfig.read_text())["clusters"][0]["cluster"]["server"])
    return socket.create_connection((address.hostname, address.port))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
async def test_nothing_is_left_when_the_tests_are_killed(binaries: Path, how: signal.Signals) -> None:
    before = machine()
    script = "import sys, pathlib, tests.real.test_nodes as t; t.hold(pathlib.Path(sys.argv[1]))"
    holder = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script, str(binaries)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert holder.stdout
    assert await holder.stdout.readline() == b"holds it\n"
    during = machine() - before
    assert any("cgroup" in trace for trace in during) and any("etcd" in trace for trace in during)
    with connected():
        holder.send_signal(how)
        await holder.wait()
        await eventually(lambda: not BESIDE.folder.exists() and machine() <= before)
    with BESIDE.alone():
        assert machine() - before == set()


def test_it_says_in_one_line_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert why_not(tmp_path, tmp_path / "place") == "real nodes need Linux and root"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "runc, iptables, ipset" in why_not(tmp_path, tmp_path / "place")


def test_a_control_plane_alone_has_no_nodes(tmp_path: Path, binaries: Path) -> None:
    (tmp_path / "etcd").touch()
    assert "holds no kube-apiserver" in why_not(tmp_path, tmp_path / "place")
