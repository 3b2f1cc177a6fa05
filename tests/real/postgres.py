"""A PostgreSQL of our own on loopback, from the binaries that are installed."""

import itertools
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import psycopg

OTHER_USER = "nobody"
"""It refuses to run as root."""


class Postgres:
    """`with` it; a fresh database for each call of `database`."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self._folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._user = OTHER_USER if os.getuid() == 0 else None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        self._numbers = itertools.count(1)

    @staticmethod
    def installed() -> Path | None:
        """Where its binaries are, if it is installed."""
        if found := shutil.which("initdb"):
            return Path(found).resolve().parent
        return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)

    def __enter__(self) -> "Postgres":
        if self._user:
            shutil.chown(self._folder, self._user)
        data = f"{self._folder}/data"
        self._run("initdb", "-D", data, "-U", "llm", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C")
        options = f"-c listen_addresses=127.0.0.1 -p {self._port} -k {self._folder} -c fsync=off"
        self._run(
            "pg_ctl", "-D", data, "-w", "-t", "120", "-l", f"{self._folder}/log", "-o", options, "start"
        )
        return self

    def __exit__(self, *failure: object) -> None:
        self._run("pg_ctl", "-D", f"{self._folder}/data", "-m", "immediate", "stop")
        shutil.rmtree(self._folder, ignore_errors=True)

    def database(self) -> str:
        """The URL of an empty one."""
        name = f"ledger{next(self._numbers)}"
        address = f"llm@127.0.0.1:{self._port}"
        with psycopg.connect(f"postgresql://{address}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"postgresql+psycopg://{address}/{name}"

    def _run(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._binaries / name, *arguments],
            cwd=self._folder,
            user=self._user,
            stdout=subprocess.DEVNULL,  # the server inherits it: a pipe would never end
            stderr=subprocess.PIPE if name == "initdb" else subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == 0, f"{name}: {done.stderr!r}"
