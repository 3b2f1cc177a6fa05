"""How far a starting vLLM is, read from the end of its log (vLLM 0.8 to 0.33)."""

import re
from datetime import timedelta

from bot.core.chat.text import t
from bot.core.deployment.workload import Phase
from bot.core.ports import Progress

COMPLETE = 0.98
"""Share of the weights from which on all count as downloaded: the rest is small files and rounding."""
_SHARDS = re.compile(
    r"Loading (?:safetensors|pt|np_cache) checkpoint shards:\s+\d+% Completed \| (\d+)/(\d+)"
)
_WARMING = re.compile(
    r"Model loading took|Memory profiling|torch\.compile|Compiling a graph"
    r"|Capturing CUDA graph|init engine|Available KV cache memory|Graph capturing"
)
_DOWNLOADING = re.compile(r"Starting to load model")
_STARTING = re.compile(r"Automatically detected platform|vLLM API server version|V[01] LLM engine")
_SERVING = re.compile(r"Starting vLLM .*server|Application startup complete")
_COUNTED = re.compile(r"llm-bot: (\d{1,15}) bytes after (\d{1,9}) s")
"""What the side process in manifests/engines/vllm.yaml prints: bytes in the cache, and after how long."""


def progress(log: str, weights_gib: float = 0.0) -> Progress | None:
    """The last sign of progress in a log's tail; None when there is none. `weights_gib` are all that there
    are to download."""
    lines = log.splitlines()
    for number in range(len(lines) - 1, -1, -1):
        line = lines[number]
        if _COUNTED.search(line):
            if download := _downloaded(lines[: number + 1], weights_gib):
                return download
            continue
        if found := _SHARDS.search(line):
            done, total = int(found[1]), int(found[2])
            return Progress(Phase.LOADING, t("progress.shards", done=done, total=total))
        if _SERVING.search(line) or _WARMING.search(line):
            return Progress(Phase.LOADING, t("progress.warming"))
        if _DOWNLOADING.search(line):
            return Progress(Phase.DOWNLOADING, t("progress.downloading"))
        if _STARTING.search(line):
            return Progress(Phase.LOADING, t("progress.starting"))
    return None


def _downloaded(lines: list[str], weights_gib: float) -> Progress | None:
    """How much of the weights is there, and how long the rest takes at the speed so far; None if nothing
    comes or all is there."""
    counted = [(int(c[1]) / 2**30, int(c[2])) for line in lines if (c := _COUNTED.search(line))]
    (before, sooner), (done, later) = counted[0], counted[-1]
    if not 0 < done < COMPLETE * weights_gib:
        return None
    told = {"share": f"{done / weights_gib:.0%}", "done": done, "total": weights_gib}
    if done <= before:
        return Progress(Phase.DOWNLOADING, t("progress.downloaded", **told))
    left = timedelta(seconds=(weights_gib - done) * (later - sooner) / (done - before))
    return Progress(Phase.DOWNLOADING, t("progress.downloaded_left", left=left, **told))
