"""How far a start is, read from the end of its log."""

import pytest

from bot.core.deployment.workload import Phase
from bot.engines.vllm.progress import progress
from tests.conftest import Say

GIB = 2**30
STARTING = "INFO [model_runner.py:1108] Starting to load model meta-llama/Meta-Llama-3-8B-Instruct..."


def counted(gib: float, second: int) -> str:
    return f"llm-bot: {int(gib * GIB)} bytes after {second} s"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["INFO [__init__.py:239] Automatically detected platform cuda."], "starting vLLM"),
        ([STARTING], "downloading the weights"),
        (["Loading safetensors checkpoint shards:  75% Completed | 3/4 [00:09<00:03]"], "shard 3 of 4"),
        (["Loading pt checkpoint shards:  50% Completed | 1/2"], "shard 1 of 2"),
        (["INFO Model loading took 7.51 GiB and 54.2 seconds"], "warming up"),
        (["INFO Capturing CUDA graph shapes: 3%"], "warming up"),
        ([counted(0, 0), STARTING], "downloading the weights"),
        ([STARTING, counted(3.0, 10)], "downloading the weights, 20% (3.0 of 15.0 GiB)"),
        (
            [counted(0.5, 0), STARTING, counted(6.5, 100)],
            "downloading the weights, 43% (6.5 of 15.0 GiB, about 2 min 22 s left)",
        ),
        ([STARTING, counted(15.0, 200)], "downloading the weights"),  # all of it: the model is read from disk
        ([counted(5, 10), counted(5, 20), STARTING], "downloading the weights"),
    ],
)
def test_the_last_sign_of_progress(lines: list[str], said: str, say: Say) -> None:
    found = progress("\n".join(lines), weights_gib=15.0)
    assert found
    assert say(found.text) == said
    assert (found.phase is Phase.DOWNLOADING) == said.startswith("downloading")


@pytest.mark.parametrize("log", ["", "nonsense", counted(1, 1), "llm-bot: many bytes after x s"])
def test_nothing_to_tell(log: str) -> None:
    assert progress(log) is None
