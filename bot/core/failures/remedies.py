"""What to do about a cause: a sentence `[remedy]`, and changes that may let the model start."""

from bot.core.chat.reply import Button
from bot.core.chat.text import Text, or_else, t
from bot.core.deployment.workload import Workload

NEED_MEMORY = {"cuda_oom", "no_kv_cache_memory", "context_too_long_for_kv_cache", "container_oomkilled"}
"""Causes that more GPUs may remedy."""


def cause_name(cause: str) -> Text:
    """What a cause is called; its own name if a newer version has written it."""
    return or_else(t(f"cause.{cause}"), cause)


def remedy(cause: str, node: str = "") -> Text:
    """What to do about a cause; in its commands stands the name of the `node` it was on, if that is known."""
    return or_else(t(f"remedy.{cause}", node=node or "NODE"), cause)


def fixes(workload: Workload, gpus_per_node: int) -> tuple[Button, ...]:
    """Buttons for changes that may let a failed model start. A model stays on one node, so that it gets at
    most `gpus_per_node` GPUs."""
    spec, cause, end = workload.spec, workload.cause, workload.last_end
    changes = []
    if cause == "context_too_long_for_kv_cache":
        fitting = end.fitting_context if end else 0
        length = fitting or spec.max_model_len // 2
        changes.append(f"max-len={max(256, length // 256 * 256)}")
    if cause in NEED_MEMORY and spec.tensor_parallel_size * 2 <= gpus_per_node:
        changes.append(f"tp={spec.tensor_parallel_size * 2}")
    return tuple(
        Button(t("button.fix", change=change), f"scale {workload.name} {change}", about=workload.identity)
        for change in changes
    )
