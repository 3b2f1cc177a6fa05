"""`python -m tests.real.traces PLACE`: waits until the tests end, however they end, and then removes what is
left of their nodes on this machine.

Processes, mounts and networks end by themselves (see sandbox.py). Files, cgroups and a few settings of the
kernel, which kubelet changes without asking, do not; nor does the link to a network in which an unfinished
connection waits for its end. Standard input names the sandboxes, one process a line."""

import json
import os
import select
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.real.place import Place

PATIENCE = 120.0
"""Seconds until all processes must have ended."""
SETTINGS = (
    "vm/overcommit_memory",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
"""Of /proc/sys."""


def hierarchies() -> list[Path]:
    """The roots of the cgroups: one with version 2, one for each controller with version 1."""
    root = Path("/sys/fs/cgroup")
    one = [root] if (root / "cgroup.procs").exists() else []
    return one or [folder for folder in root.iterdir() if (folder / "cgroup.procs").exists()]


def remember(folder: Path) -> None:
    """Write down how the kernel is set, before a kubelet changes it."""
    files = [Path("/proc/sys", setting) for setting in SETTINGS]
    settings = {str(file): file.read_text() for file in files if file.exists()}
    (folder / "kernel.json").write_text(json.dumps(settings))


def remove(place: Place) -> None:
    """All that nodes leave behind; AssertionError if something does not go in time."""
    saved = place.folder / "kernel.json"
    if saved.exists():
        for setting, value in json.loads(saved.read_text()).items():
            if Path(setting).read_text() != value:
                Path(setting).write_text(value)
    subprocess.run(["ip", "link", "delete", place.link], capture_output=True, check=False)
    end = time.monotonic() + PATIENCE
    while left := [*_cgroups(place), *([place.folder] if place.folder.exists() else [])]:
        assert time.monotonic() < end, f"does not go away: {left[0]}"
        for cgroup in _cgroups(place):
            _remove_tree_of_cgroups(cgroup)
        shutil.rmtree(place.folder, ignore_errors=True)
        time.sleep(0.05)


def _cgroups(place: Place) -> list[Path]:
    return [cgroup for root in hierarchies() for cgroup in root.glob(f"{place.cgroups}*")]


def _remove_tree_of_cgroups(cgroup: Path) -> None:
    """Its files go with it; it stays while a process of it lives."""
    for folder, _, _ in os.walk(cgroup, topdown=False):
        with suppress(OSError):
            Path(folder).rmdir()


def main(place: Place) -> None:
    """Until standard input ends."""
    sandboxes = []
    for line in sys.stdin:
        with suppress(ProcessLookupError):
            sandboxes.append(os.pidfd_open(int(line)))
    for sandbox in sandboxes:
        select.select([sandbox], [], [], PATIENCE)
    remove(place)


if __name__ == "__main__":
    main(Place(int(sys.argv[1])))
