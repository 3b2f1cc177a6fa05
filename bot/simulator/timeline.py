"""How long a simulated start takes, and what its log says on the way."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from bot.core.deployment.workload import Phase, Spec

SCHEDULING = 2.0
PULL_FIRST, PULL_AGAIN = 40.0, 3.0
DOWNLOAD_PER_GIB, SHARD, WARMING = 4.0, 18.0, 15.0
"""The seconds that each stage takes: a download for each GiB, loading for each shard of the weights."""
SHARD_GIB = 5.0
"""The GiB of a shard of the weights."""
COUNTED_EVERY = 10
"""Seconds between two lines of the log that count a download."""
IMAGE = "0.8.5.post1"
"""The version of vLLM whose log is imitated."""
FAILURES = {
    "cuda_oom": "[engine.py:389] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.96 GiB.",
    "context_too_long_for_kv_cache": "[engine.py:389] ValueError: The model's max seq len (8192) is larger "
    "than the maximum number of tokens that can be stored in KV cache (5904).",
    "gated_model": "[engine.py:389] OSError: You are trying to access a gated repo.",
    "disk_full": "[engine.py:389] OSError: [Errno 28] No space left on device",
}
"""The last line of a log by the cause that it shows."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """One start of a pod, stage by stage."""

    spec: Spec
    """What runs in the pod."""
    begun: datetime
    """When the pod got its node."""
    pulled: float
    """Seconds after `begun` at which the image is pulled."""
    downloaded: float
    """Seconds after `begun` at which the weights are downloaded."""
    shards: int
    """The files that the weights are in."""
    fails: str = ""
    """The last line of its log if it crashes; empty if it gets ready."""
    crashed: datetime | None = None
    """When it crashes; None: at the end of its start, if at all."""

    @property
    def loaded(self) -> float:
        """Seconds after `begun` at which the last shard is loaded."""
        return self.downloaded + 8 + self.shards * SHARD

    @property
    def ready(self) -> float:
        """Seconds after `begun` at which it answers, or crashes."""
        return (self.crashed - self.begun).total_seconds() if self.crashed else self.loaded + WARMING

    def phase(self, now: datetime) -> tuple[Phase, datetime]:
        """The phase at a moment, and since when."""
        passed = (now - self.begun).total_seconds()
        stages = [
            (self.ready, Phase.FAILED if self.fails else Phase.READY),
            (self.pulled, Phase.LOADING),
            (SCHEDULING, Phase.PULLING),
        ]
        for start, phase in stages:
            if passed >= start:
                return phase, self.begun + timedelta(seconds=start)
        return Phase.SCHEDULING, self.begun

    def log(self, now: datetime) -> list[str]:
        """The lines of its log up to now, in the format of vLLM 0.8.5 with its V0 engine."""
        passed = (now - self.begun).total_seconds()
        return [self._stamped(second, line) for second, line in self._lines() if passed >= second]

    def _stamped(self, second: float, line: str) -> str:
        moment = self.begun + timedelta(seconds=second)
        level = "ERROR" if line == self.fails else "INFO"
        return f"{level} {moment:%m-%d %H:%M:%S} {line}"

    def _lines(self) -> list[tuple[float, str]]:
        spec, total = self.spec, self.shards
        per_gpu = spec.weights_gib / spec.tensor_parallel_size
        lines = [
            (self.pulled, "[__init__.py:239] Automatically detected platform cuda."),
            (self.pulled + 3, f"[api_server.py:1043] vLLM API server version {IMAGE}"),
            (self.pulled + 5, f"[llm_engine.py:240] Initializing a V0 LLM engine (v{IMAGE})"),
            (self.pulled + 6, "[cuda.py:292] Using XFormers backend."),
            (self.pulled + 7, f"[model_runner.py:1108] Starting to load model {spec.repo}..."),
        ]
        for second in range(0, int(self.downloaded - self.pulled), COUNTED_EVERY):
            downloaded = int(spec.weights_gib * 2**30 * second / (self.downloaded - self.pulled))
            lines.append((self.pulled + 8 + second, f"llm-bot: {downloaded} bytes after {second} s"))
        for done in range(total + 1):
            share = 100 * done // total
            bar = f"Loading safetensors checkpoint shards: {share:>3}% Completed | {done}/{total}"
            lines.append((self.downloaded + 8 + done * SHARD, f"[weight_utils.py:265] {bar}"))
        took = f"Model loading took {per_gpu:.4f} GiB and {total * SHARD:.1f} seconds"
        lines.append((self.loaded, f"[model_runner.py:1140] {took}"))
        if self.fails:
            return [*lines, (self.ready, self.fails)]
        blocks = spec.kv_cache_tokens // 16
        return [
            *lines,
            (self.loaded + 6, f"[executor_base.py:112] # cuda blocks: {blocks}, # CPU blocks: 512"),
            (self.ready, "[api_server.py:1090] Starting vLLM API server on http://0.0.0.0:8000"),
        ]


def timeline(spec: Spec, begun: datetime, *, image_there: bool, cached: bool) -> Timeline:
    """The start of a pod that gets its node at `begun`. `image_there`: the node has the image already;
    `cached`: the weights are downloaded already.

    A deployment whose name begins with `fail-` runs out of GPU memory, to show what that looks like."""
    pulled = SCHEDULING + (PULL_AGAIN if image_there else PULL_FIRST)
    downloaded = pulled + (0.0 if cached else spec.weights_gib * DOWNLOAD_PER_GIB)
    fails = FAILURES["cuda_oom"] if spec.name.startswith("fail-") else ""
    return Timeline(spec, begun, pulled, downloaded, ceil(spec.weights_gib / SHARD_GIB) or 1, fails)
