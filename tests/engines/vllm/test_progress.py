"""How far a start is, read from the end of its log."""

import pytest

from bot.core.deployment.workload import Phase
from bot.engines.vllm.progress import download_seconds, progress
from tests.conftest import Say

GIB = 2**30
STARTING = "INFO [model_runner.py:1108] Starting to load model meta-llama/Meta-Llama-3-8B-Instruct..."


def counted(gib: float, second: int) -> str:
    return f"llm-bot: {int(gib * GIB)} bytes after {second} s"


def shards(done: int, total: int, passed: str) -> str:
    share = 100 * done // total
    bar = f"Loading safetensors checkpoint shards: {share:>3}% Completed | {done}/{total}"
    return f"{bar} [{passed}<?, 9.00s/it]"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["INFO [__init__.py:239] Automatically detected platform cuda."], "starting vLLM"),
        ([STARTING], "downloading the weights"),
        ([shards(3, 4, "00:45")], "shard 3 of 4, 256 MiB/s"),
        (["Loading pt checkpoint shards:  50% Completed | 1/2"], "shard 1 of 2"),
        ([shards(0, 4, "00:00")], "shard 0 of 4"),
        ([shards(1, 4, "00:29")], "shard 1 of 4, 132 MiB/s"),
        ([shards(1, 4, "15:00")], "shard 1 of 4, 4.3 MiB/s, about 45 min left: slow volume"),
        ([shards(2, 4, "1:00:00")], "shard 2 of 4, 2.1 MiB/s, about 1 h left: slow volume"),
        ([shards(4, 4, "1:00:00")], "shard 4 of 4, 4.3 MiB/s"),
        (["INFO Model loading took 7.51 GiB and 54.2 seconds"], "warming up"),
        (["INFO Capturing CUDA graph shapes: 3%"], "warming up"),
        ([counted(0, 0), STARTING], "downloading the weights"),
        ([STARTING, counted(3.0, 10)], "downloading the weights, 20% (3.0 of 15.0 GiB)"),
        (
            [counted(0.5, 0), STARTING, counted(6.5, 100)],
            "downloading the weights, 43% (6.5 of 15.0 GiB at 61 MiB/s, about 2 min 22 s left)",
        ),
        ([STARTING, counted(15.0, 200)], "reading the weights"),
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


TOOK = "INFO [weight_utils.py:273] Time spent downloading weights for a/b: {} seconds"
BANNER = "INFO [__init__.py:239] Automatically detected platform cpu."


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ([BANNER, STARTING], 0),
        ([counted(15, 0), BANNER, STARTING], 0),
        ([counted(0, 0), BANNER, counted(3, 10), TOOK.format("508.576789")], 508.576789),
        ([BANNER, TOOK.format("61.2"), TOOK.format("0.6")], 61.2),
        ([counted(0, 0), BANNER, counted(3, 10)], None),
        ([STARTING, "INFO Model loading took 7.51 GiB and 54.2 seconds"], None),
        ([], None),
    ],
)
def test_how_long_a_start_downloaded(lines: list[str], seconds: float | None) -> None:
    """Bytes came and nobody says how long, or the log does not reach back to its start: that is not known."""
    assert download_seconds("\n".join(lines)) == seconds


def test_the_time_left_of_a_download_and_of_a_slow_volume_is_told_apart() -> None:
    slow, fast = progress(shards(1, 4, "15:00"), 15.0), progress(shards(1, 4, "00:29"), 15.0)
    loads = progress("\n".join([counted(0.5, 0), STARTING, counted(6.5, 100)]), 15.0)
    assert slow and slow.left and slow.left.total_seconds() == 2700
    assert fast and fast.left is None
    assert loads and loads.left and round(loads.left.total_seconds()) == 142
