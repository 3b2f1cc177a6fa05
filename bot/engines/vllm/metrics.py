"""vLLM's /metrics: the names of what shows that somebody uses a model (vLLM 0.8 to 0.33, V0 and V1)."""

import re

from prometheus_client.parser import text_string_to_metric_families

from bot.core.ports import Load

RUNNING, WAITING = "vllm:num_requests_running", "vllm:num_requests_waiting"
"""Gauges: requests that are being answered, and those that wait for it."""
TOKENS = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total")
"""Counters: tokens since the start of the server, read and written."""
MOST_SERIES = 128
"""Series of these names: each engine of a server has one of each."""
LONGEST_SERIES = 500
"""Bytes of a series: to parse one takes time that grows with the square of its labels."""
MOST = 2**53
"""A number from here on may stay the same when one is added to it."""
_WANTED = re.compile(rb"^(?:%s)[^\n]*" % "|".join((RUNNING, WAITING, *TOKENS)).encode(), re.MULTILINE)


def parse_load(exposition: bytes) -> Load | None:
    """What a text in Prometheus' format says, summed over its series; None if it does not say whether
    the model is used, or any part of that is nonsense."""
    wanted = [found[0] for found in _WANTED.finditer(exposition)]
    if len(wanted) > MOST_SERIES or any(len(line) > LONGEST_SERIES for line in wanted):
        return None
    try:
        sums = _sums(b"\n".join(wanted).decode() + "\n")
    except ValueError:
        return None
    if not {RUNNING, WAITING} <= sums.keys() or not any(name in sums for name in TOKENS):
        return None  # without a count of tokens nobody knows whether it was used
    tokens = sum(sums.get(name, 0.0) for name in TOKENS)
    return Load(int(sums[RUNNING]), int(sums[WAITING]), tokens)


def _sums(series: str) -> dict[str, float]:
    """The sum of the series of each name; ValueError if one of them is no count."""
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(series):
        for sample in family.samples:
            if not 0 <= sample.value < MOST:  # nor NaN
                raise ValueError(f"no count: {sample.value}")
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    return sums
