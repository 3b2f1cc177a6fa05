"""What to do about a cause: a sentence `[remedy]`, and changes that may let the model start."""

from bot.core.chat.reply import Button
from bot.core.chat.text import t
from bot.core.deployment.workload import Workload
from bot.core.failures.causes import LAST_RESORT, SIGNS
from bot.core.failures.diagnosis import Diagnosis

NEED_MEMORY = {"cuda_oom", "no_kv_cache_memory", "context_too_long_for_kv_cache", "container_oomkilled"}
NO_SIGNS = {"container_oomkilled", "node_lost", "evicted", "garbled_answers"}
"""Causes that no log shows."""
REMEDIED = {sign.cause for sign in (*SIGNS, *LAST_RESORT)} | NO_SIGNS


def fixes(workload: Workload, diagnosis: Diagnosis | None, gpus_per_node: int) -> tuple[Button, ...]:
    """The changes that may let it start, each as a command; a model stays on one node."""
    spec, cause = workload.spec, diagnosis.cause if diagnosis else workload.cause
    changes = []
    if cause == "context_too_long_for_kv_cache":
        fits = diagnosis.fits if diagnosis and diagnosis.fits else spec.max_model_len // 2
        changes.append(f"max-len={max(256, fits // 256 * 256)}")
    if cause in NEED_MEMORY and spec.tensor_parallel_size * 2 <= gpus_per_node:
        changes.append(f"tp={spec.tensor_parallel_size * 2}")
    return tuple(
        Button(t("button.fix", change=change), f"scale {workload.name} {change}", about=workload.identity)
        for change in changes
    )
