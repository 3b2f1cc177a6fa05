"""The bot as a process, on a real control plane with a real vLLM behind it."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.real.control_plane import ControlPlane
from tests.real.vllm import VllmContainers, make_model
from tests.real.world import real_world

ROOT = Path(__file__).parents[2]
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")


@asynccontextmanager
async def service(
    control_plane: ControlPlane,
    vllm_binary: Path,
    tmp_path: Path,
    chat: dict[str, str],
    seen: Callable[[], list[str]],
) -> AsyncIterator[None]:
    """With the settings of a chat, until the end of the block; if it fails, its log and what people saw
    are printed."""
    containers = VllmContainers(vllm_binary, make_model(vllm_binary, tmp_path))
    async with real_world(control_plane, tmp_path, containers.launch, containers.url) as world:
        containers.api = world.admin
        env = {name: value for name, value in os.environ.items() if name not in PROXIES} | {
            "KUBECONFIG": str(world.kubeconfig),
            "NAMESPACE": world.namespace,
            "INFERENCE_URL_TEMPLATE": containers.url,
            "HTTP_HOST": "127.0.0.1",
            "HTTP_PORT": "0",
        }
        command = [sys.executable, "-m", "bot", "run"]
        bot = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env=env | chat, stderr=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(900):
                yield
        finally:
            bot.terminate()
            _, said = await bot.communicate()
            print(said.decode(), *seen(), sep="\n")
        assert bot.returncode == 0, said.decode()
        assert "Traceback" not in said.decode()
        assert "what is a node" not in said.decode()  # what people ask is not logged
