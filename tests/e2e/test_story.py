"""The main job on real parts: console → bot as its ServiceAccount → API server, scheduler → a real vLLM."""

import asyncio
import os
import re
import sys
from pathlib import Path

from tests.real.control_plane import ControlPlane
from tests.real.vllm import VllmContainers, make_model
from tests.real.world import real_world

ROOT = Path(__file__).parents[2]
STORY = """\
deploy tinyllama ttl=4h
status
status tinyllama
ask temp=1 max-tokens=24 tinyllama what is a node?
ask max-tokens=8 and a question?
ask tinyllama {long}
logs tinyllama 5
sleep tinyllama
ask tinyllama max-tokens=8 are you awake?
stop tinyllama
status
"""


async def test_deploy_ask_sleep_wake_stop(
    control_plane: ControlPlane, vllm_binary: Path, tmp_path: Path
) -> None:
    containers = VllmContainers(vllm_binary, make_model(vllm_binary, tmp_path))
    async with real_world(control_plane, tmp_path, containers.launch, containers.url) as world:
        containers.api = world.admin
        env = {
            **os.environ,
            "KUBECONFIG": str(world.kubeconfig),
            "NAMESPACE": world.namespace,
            "INFERENCE_URL_TEMPLATE": containers.url,
        }
        bot = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bot", "run", "--platform", "console"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=env,
            cwd=ROOT,
        )
        story = STORY.format(long="word " * 4000)
        async with asyncio.timeout(900):
            out, err = await bot.communicate(story.encode())
        told = out.decode()
        assert bot.returncode == 0, err.decode()
        assert err.decode() == ""
        answers = _answers(told)

        assert "tinyllama is ready" in answers["deploy tinyllama ttl=4h"]
        assert "1 deployment · GPUs held: 1" in told
        assert "0 running, 0 waiting" in answers["status tinyllama"]
        assert re.search(r"tinyllama · 24 tokens · [\d.]+ tokens/s · cut at max-tokens", told)
        assert "tinyllama · 8 tokens" in answers["ask max-tokens=8 and a question?"]
        assert "That is too long: question and answer together can have 2,048 tokens." in told
        assert "GET /" in answers["logs tinyllama 5"] or "INFO" in answers["logs tinyllama 5"]
        woken = answers["ask tinyllama max-tokens=8 are you awake?"]
        assert "your question is answered as soon as it is ready" in woken
        assert "tinyllama · 8 tokens" in woken
        assert "The model stays in the cache." in answers["stop tinyllama"]
        assert "/llm models shows what there is, /llm deploy MODEL starts one" in answers["status"]
        assert await world.names("persistentvolumeclaims") == ["llm-models"]


def _answers(told: str) -> dict[str, str]:
    """What was printed after each line of the script."""
    parts = re.split(r"^> (.*)$", told, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))
