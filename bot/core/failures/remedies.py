"""What to do about a cause: a sentence `[remedy]`, and changes that may let the model start."""

from bot.core.chat.reply import Button
from bot.core.chat.text import t
from bot.core.deployment.workload import Workload
from bot.core.failures.diagnosis import Diagnosis
from bot.core.failures.log_signs import LAST_RESORT, SIGNS

NEED_MEMORY = {"cuda_oom", "no_kv_cache_memory", "context_too_long_for_kv_cache", "container_oomkilled"}
"""Causes that more GPUs may remedy."""
NO_SIGNS = {"container_oomkilled", "node_lost", "evicted", "garbled_answers"}
"""Causes that the cluster shows, or a wrong answer, but no log."""
REMEDIED = {sign.cause for sign in (*SIGNS, *LAST_RESORT)} | NO_SIGNS
"""Causes that have a sentence `[remedy]`."""


def fixes(workload: Workload, diagnosis: Diagnosis | None, gpus_per_node: int) -> tuple[Button, ...]:
    """Buttons for changes that may let it start; `diagnosis` is that of its log, None if there is none. A
    model stays on one node, so that it gets at most `gpus_per_node` GPUs."""
    spec, cause = workload.spec, diagnosis.cause if diagnosis else workload.cause
    changes = []
    if cause == "context_too_long_for_kv_cache":
        fitting = diagnosis.fitting_context if diagnosis else 0
        length = fitting or spec.max_model_len // 2
        changes.append(f"max-len={max(256, length // 256 * 256)}")
    if cause in NEED_MEMORY and spec.tensor_parallel_size * 2 <= gpus_per_node:
        changes.append(f"tp={spec.tensor_parallel_size * 2}")
    return tuple(
        Button(t("button.fix", change=change), f"scale {workload.name} {change}", about=workload.identity)
        for change in changes
    )
