"""How far a starting vLLM is, read from the end of its log (vLLM 0.8 to 0.33)."""

import re
from dataclasses import dataclass

from bot.core.text import Text, t
from bot.core.workload import Phase


@dataclass(frozen=True, slots=True)
class Progress:
    """The phase that the log shows, and words for it."""

    phase: Phase
    text: Text


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


def progress(log: str) -> Progress | None:
    """The last sign of progress in a log's tail; None when there is none."""
    for line in reversed(log.splitlines()):
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
