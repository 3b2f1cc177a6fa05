"""Where on this machine nodes live: two clusters side by side are in two places."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.real.parts import cache

PODS = "198.19.0.0/16"


class Place(NamedTuple):
    """Addresses are of a range that is reserved for tests (RFC 2544); names begin with llm-bot."""

    number: int
    """0 is that of `real_cluster`."""

    @property
    def folder(self) -> Path:
        """All files of the cluster."""
        return cache() / f"nodes-{self.number}"

    @property
    def link(self) -> str:
        """The one interface that this machine sees."""
        return f"llm-bot-{self.number}"

    @property
    def cgroups(self) -> str:
        """How the names of the nodes' cgroups begin."""
        return f"llm-bot-{self.number}-"

    @property
    def center(self) -> str:
        """The address of API server and DNS."""
        return f"198.18.{self.number}.1"

    @property
    def machine(self) -> str:
        """The address of this machine, as pods reach it."""
        return f"198.18.{self.number}.254"

    def node(self, number: int) -> str:
        """The address of a node."""
        return f"198.18.{self.number}.{10 + number}"

    def pods(self, number: int) -> str:
        """The addresses of a node's pods."""
        return f"198.19.{16 * self.number + number}.0/24"

    @contextmanager
    def alone(self) -> Iterator[socket.socket]:
        """One at a time: the next one waits, also until what an earlier one left is removed."""
        lock = socket.socket(socket.AF_UNIX)
        while True:
            try:
                lock.bind(f"\0llm-bot-nodes-{self.number}")  # free when its last holder has ended
                break
            except OSError:
                time.sleep(0.2)
        with lock:
            yield lock
