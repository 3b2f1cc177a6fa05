"""How far a starting vLLM is, read from the end of its log (vLLM 0.8 to 0.33)."""

import re
from datetime import timedelta

from bot.core.chat.text import t
from bot.core.deployment.workload import Phase
from bot.core.ports import Progress

COMPLETE = 0.98
"""Share of the weights from which on all count as downloaded: the rest is small files and rounding."""
SLOW_MIB = 30.0
"""MiB per second from which on down the volume counts as slow: a quarter of what a cluster's network brought
(13.5 GB in 109 s, vLLM issue 7514). The hour of issue 6319 was about 4."""
SLOW_AFTER = 30
"""Seconds of reading after which that can be said."""
_SHARDS = re.compile(
    r"Loading (?:safetensors|pt|np_cache) checkpoint shards:\s+\d+% Completed \| (\d+)/(\d+)"
    r"(?: \[(?:(\d+):)?(\d+):(\d+)<)?"
)
"""Shards done, all shards, and the hours, minutes and seconds that those took."""
_WARMING = re.compile(
    r"Model loading took|Memory profiling|torch\.compile|Compiling a graph"
    r"|Capturing CUDA graph|init engine|Available KV cache memory|Graph capturing"
)
_DOWNLOADING = re.compile(r"Starting to load model")
_STARTING = re.compile(r"Automatically detected platform|vLLM API server version|V[01] LLM engine")
_SERVING = re.compile(r"Starting vLLM .*server|Application startup complete")
_COUNTED = re.compile(r"llm-bot: (\d{1,15}) bytes after (\d{1,9}) s")
"""What the side process in manifests/engines/vllm.yaml prints: bytes in the cache, and after how long."""
_DOWNLOADED = re.compile(r"Time spent downloading weights for \S+: (\d{1,9}(?:\.\d+)?) seconds")
"""What vLLM prints if that took more than half a second."""


def progress(log: str, weights_gib: float = 0.0) -> Progress | None:
    """The last sign of progress in a log's tail; None when there is none. `weights_gib` are all that there
    are to download."""
    lines = log.splitlines()
    signs = (_sign(lines, number, weights_gib) for number in range(len(lines) - 1, -1, -1))
    return next((sign for sign in signs if sign), None)


def _sign(lines: list[str], number: int, weights_gib: float) -> Progress | None:
    """What the line of that number tells, with those before it; None: nothing."""
    line = lines[number]
    if _COUNTED.search(line):
        return _downloaded(lines[: number + 1], weights_gib)
    if found := _SHARDS.search(line):
        return _read(found, weights_gib)
    if _SERVING.search(line) or _WARMING.search(line):
        return Progress(Phase.LOADING, t("progress.warming"))
    if _DOWNLOADING.search(line) and _is_complete(lines, weights_gib):
        return Progress(Phase.LOADING, t("progress.reading"))
    if _DOWNLOADING.search(line):
        return Progress(Phase.DOWNLOADING, t("progress.downloading"))
    return Progress(Phase.LOADING, t("progress.starting")) if _STARTING.search(line) else None


def _downloaded(lines: list[str], weights_gib: float) -> Progress | None:
    """How much of the weights is there, and how long the rest takes at the speed so far; None if nothing
    comes or all is there."""
    counted = _counts(lines)
    (before, sooner), (done, later) = counted[0], counted[-1]
    if not 0 < done < COMPLETE * weights_gib:
        return None
    told = {"share": f"{done / weights_gib:.0%}", "done": done, "total": weights_gib}
    if done <= before:
        return Progress(Phase.DOWNLOADING, t("progress.downloaded", **told))
    gib_per_second = (done - before) / max(1, later - sooner)
    left = timedelta(seconds=(weights_gib - done) / gib_per_second)
    rate = _mib(gib_per_second)
    return Progress(Phase.DOWNLOADING, t("progress.downloaded_left", left=left, rate=rate, **told), left)


def download_seconds(log: str) -> float | None:
    """How long a start downloaded weights, by its log; 0 if they were there. None if the log does not begin
    with the start, or bytes came and vLLM does not say how long."""
    lines = log.splitlines()
    told = [float(found[1]) for line in lines if (found := _DOWNLOADED.search(line))]
    if told:
        return max(told)  # each GPU's process tells; the others have waited for the first
    counted = _counts(lines)
    whole = bool(counted) or any(_STARTING.search(line) for line in lines)
    return 0.0 if whole and len({gib for gib, _ in counted}) <= 1 else None


def _read(shards: re.Match[str], weights_gib: float) -> Progress:
    """How many shards are read, how fast, and whether that is because of the volume."""
    done, total = int(shards[1]), int(shards[2])
    told = {"done": done, "total": total}
    hours, minutes, seconds = (int(part or 0) for part in shards.groups()[2:])
    passed = 3600 * hours + 60 * minutes + seconds
    gib_per_second = weights_gib * done / max(1, total) / max(1, passed)
    if not passed or not gib_per_second:
        return Progress(Phase.LOADING, t("progress.shards", **told))
    rate = _mib(gib_per_second)
    if rate >= SLOW_MIB or passed < SLOW_AFTER or done >= total:
        return Progress(Phase.LOADING, t("progress.shards_rate", rate=rate, **told))
    left = timedelta(seconds=passed * (total - done) / done)
    return Progress(Phase.LOADING, t("progress.shards_slow", rate=rate, left=left, **told), left)


def _counts(lines: list[str]) -> list[tuple[float, int]]:
    """GiB in the cache, and the seconds after which they were counted."""
    return [(int(c[1]) / 2**30, int(c[2])) for line in lines if (c := _COUNTED.search(line))]


def _is_complete(lines: list[str], weights_gib: float) -> bool:
    """All weights are in the cache."""
    counted = _counts(lines)
    return bool(counted) and counted[-1][0] >= COMPLETE * weights_gib > 0


def _mib(gib_per_second: float) -> float:
    """MiB per second, whole ones from 10 on."""
    rate = gib_per_second * 1024
    return round(rate) if rate >= 10 else round(rate, 1)
