"""A model that writes what it likes into its log: reading it costs little time and memory, and what is shown
of it steers no terminal."""

import random
import tracemalloc
from time import process_time

import pytest

from bot.core.failures.diagnosis import diagnose
from bot.core.failures.log_lines import without_colours
from bot.core.failures.log_signs import LAST_RESORT, SIGNS
from bot.core.failures.redact import redact
from bot.engines.vllm.progress import download_seconds, progress

LONG = 2**18
"""Characters: a quarter of what is read of a log at once (`cluster.logs.LONGEST`)."""
PIECES = [
    *(" ", "\n", "\t", "\r", "\x1b[", "\x1b[31m", "0", "9", "a", "A", "_", ".", "-", "/", ":", "[", "]", "("),
    *(")", "pid=", "ERROR ", "INFO: ", "Error", "Exception", "Traceback (most recent call last)", "://", "@"),
    *(
        "11-27 10:32:12 ",
        "2026-11-27T10:32:12",
        "stderr F ",
        "rank0",
        "a.b.c.",
        "E1127 ",
        "nterrupt",
        "[type=",
    ),
    *("llm-bot: 1 bytes after 1 s", "Loading safetensors checkpoint shards: ", "token=", "password: ", "hf_"),
    *(sign.text for sign in (*SIGNS, *LAST_RESORT)),
]
SECONDS = 5.0
"""CPU time that reading LONG characters may take; it takes 0.2 s at most."""


def cost(text: str) -> float:
    """Seconds of CPU for all that is done to a log."""
    begun = process_time()
    diagnose([text])
    progress(text, 15.0)
    download_seconds(text)
    redact(text)
    without_colours(text)
    return process_time() - begun


@pytest.mark.parametrize("piece", PIECES, ids=[repr(piece)[:40] for piece in PIECES])
def test_kind_16_a_log_of_one_thing_again_and_again_is_read_soon(piece: str) -> None:
    assert cost(piece * (LONG // len(piece))) < SECONDS


def test_kind_16_logs_made_at_random_of_what_is_searched_are_read_soon() -> None:
    chance = random.Random(16)
    for _ in range(40):
        few = chance.sample(PIECES, chance.randint(2, 5))
        block = "".join(chance.choices(few, k=chance.randint(5, 50)))
        assert cost(block * (LONG // len(block))) < SECONDS, few


def test_kind_16_a_line_of_300_mib_takes_little_memory() -> None:
    line = "x" * 2**16
    tracemalloc.start()
    try:
        diagnose(line for _ in range(300 * 16))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 * 2**20


@pytest.mark.parametrize(
    "line",
    [
        "RuntimeError: \x1b]0;owned\x07 \x1b[2J \x9b2J CUDA out of memory",
        "ValueError: a\x00b\x08c\x7f\u2028d\u202ee",
    ],
)
def test_kind_16_evidence_steers_no_terminal(line: str) -> None:
    evidence = diagnose([f"Traceback (most recent call last):\n{line}\n"]).evidence
    assert evidence and evidence.isprintable()
