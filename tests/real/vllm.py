"""A real vLLM on the CPU, from VLLM_BIN, with a tiny model: what a test kubelet starts as a container."""

import asyncio
import atexit
import base64
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp

from bot.cluster.client import Api

Json = dict[str, Any]
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_HOST_IP": "127.0.0.1",
}
START_SECONDS = 600
"""How long a start may take: 25 s on an idle machine."""


def make_model(binary: Path, folder: Path) -> Path:
    """A copy of the tiny model in the folder."""
    return shutil.copytree(_model(binary), folder / "tiny")


@cache
def _model(binary: Path) -> Path:
    """Made once for all tests: importing torch takes many times as long as writing half a megabyte."""
    script = Path(__file__).with_name("tiny_model.py")
    folder = tempfile.mkdtemp(prefix="tiny-model-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    subprocess.run(
        [binary.parent / "python", script, folder], check=True, capture_output=True, env=os.environ | OFFLINE
    )
    return Path(folder)


class Ended(Exception):
    """The server ended before it answered; its code."""


class VllmContainers:
    """`launch` starts what a pod's container asks for, on one port of this machine."""

    def __init__(self, binary: Path, model: Path, api: Api | None = None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.api = api
        self.model: Path | str = model
        self.more: list[str] = []
        """Flags that go before all others."""
        self._binary = binary

    async def launch(self, pod: Json, log: Callable[[str], None]) -> Callable[[], Awaitable[None]]:
        """Start the pod's server; returns when it answers /health."""
        container = pod["spec"]["containers"][0]
        if container["name"] != "vllm":
            return _nothing
        flags = dict(flag[2:].partition("=")[::2] for flag in container["args"][1:])
        key = await self._key(pod["metadata"]["namespace"], container)
        return await self.serve(flags["served-model-name"], flags["max-model-len"], key, log)

    async def serve(
        self, name: str, length: str, key: str, log: Callable[[str], None] = lambda line: None, *more: str
    ) -> Callable[[], Awaitable[None]]:
        """Start a server with its own line of flags: those of a V100's version it does not know."""
        command = [
            *(["taskset", "-c", "0"] if sys.platform == "linux" and (os.cpu_count() or 1) > 1 else []),
            str(self._binary), "serve", str(self.model), "--served-model-name", name,
            "--dtype", "float32", "--max-model-len", length, "--kv-cache-memory-bytes", "64M",
            "--enforce-eager", "--host", "127.0.0.1", "--port", str(self.port), f"--api-key={key}",
            *self.more, *more,
        ]  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            *command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=os.environ | OFFLINE,
            start_new_session=True,
        )
        self.process = process
        reading = asyncio.create_task(_read(process, log))

        async def end() -> None:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    await asyncio.wait_for(process.wait(), 60)
                except TimeoutError:
                    os.killpg(process.pid, signal.SIGKILL)
                    await process.wait()
            with suppress(ProcessLookupError):  # its engine is a process of its own and holds the log open
                os.killpg(process.pid, signal.SIGKILL)
            await reading

        try:
            await self._healthy(process)
        except Ended:
            await reading
            raise
        return end

    async def _healthy(self, process: asyncio.subprocess.Process) -> None:
        patience = aiohttp.ClientTimeout(10)
        async with asyncio.timeout(START_SECONDS), aiohttp.ClientSession(timeout=patience) as session:
            while process.returncode is None:
                try:
                    async with session.get(f"{self.url}/health") as answer:
                        if answer.status == 200:
                            return
                except (aiohttp.ClientError, TimeoutError):
                    await asyncio.sleep(0.2)
        raise Ended(process.returncode)

    async def _key(self, namespace: str, container: Json) -> str:
        """As a kubelet does: the value that an environment variable takes from a Secret."""
        variable = next(v for v in container["env"] if v["name"] == "VLLM_API_KEY")
        reference = variable["valueFrom"]["secretKeyRef"]
        assert self.api is not None
        path = f"/api/v1/namespaces/{namespace}/secrets/{reference['name']}"
        secret = await self.api.request("GET", path)
        return base64.b64decode(secret["data"][reference["key"]]).decode()


async def _read(process: asyncio.subprocess.Process, log: Callable[[str], None]) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        log(line.decode(errors="replace").rstrip())


async def _nothing() -> None:
    """A container that is not a model needs no process here."""
