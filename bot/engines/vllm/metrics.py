"""vLLM's /metrics: the names of what shows that somebody uses a model (vLLM 0.8 to 0.33, V0 and V1)."""

from prometheus_client.parser import text_string_to_metric_families

from bot.core.ports import Load

RUNNING, WAITING = "vllm:num_requests_running", "vllm:num_requests_waiting"
"""Gauges: requests that are being answered, and those that wait for it."""
TOKENS = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total")
"""Counters: tokens since the start of the server, read and written."""


def parse_load(exposition: str) -> Load | None:
    """What a text in Prometheus' format says, summed over its series; None if it does not say whether
    the model is used."""
    wanted = [line for line in exposition.splitlines() if line.startswith((RUNNING, WAITING, *TOKENS))]
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families("\n".join(wanted) + "\n"):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    if RUNNING not in sums or not any(name in sums for name in TOKENS):
        return None  # without a count of tokens nobody knows whether it was used
    tokens = sum(sums.get(name, 0.0) for name in TOKENS)
    return Load(int(sums[RUNNING]), int(sums.get(WAITING, 0)), tokens)
