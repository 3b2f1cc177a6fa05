"""How long a simulated start takes, and what its log says on the way."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from bot.core.deployment.start_times import Stages
from bot.core.deployment.workload import Phase, Spec

SCHEDULING = 2.0
PULL, PREPARE = 40.0, 3.0
DOWNLOAD_PER_GIB, SHARD, WARMING = 4.0, 18.0, 15.0
"""The seconds that each stage takes: what comes before the container if its image is not there, and if it is;
a download for each GiB, loading for each shard of the weights."""
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
    pulls: bool
    """The image was not there."""
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

    def stages(self, run: str, asked: datetime) -> Stages:
        """The stages of a run in a pod that was made at `asked` and got ready."""
        return Stages(
            run=run,
            created=asked,
            waiting=(self.begun - asked).total_seconds(),
            preparing=self.pulled,
            pulling=self.pulled - SCHEDULING if self.pulls else 0.0,
            running=self.ready - self.pulled,
        )

    def phase(self, now: datetime) -> tuple[Phase, datetime]:
        """The phase at a moment, and since when."""
        passed = (now - self.begun).total_seconds()
        stages = [
            (self.ready, Phase.FAILED if self.fails else Phase.READY),
            (self.pulled, Phase.LOADING),
            (SCHEDULING, Phase.PULLING if self.pulls else Phase.PREPARING),
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
        lines += self._download()
        for done in range(total + 1):
            share, passed = 100 * done // total, divmod(int(done * SHARD), 60)
            bar = f"Loading safetensors checkpoint shards: {share:>3}% Completed | {done}/{total}"
            bar += f" [{passed[0]:02}:{passed[1]:02}<?, {SHARD:.2f}s/it]"
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

    def _download(self) -> list[tuple[float, str]]:
        """What counts the bytes in the cache, and what vLLM says at the end."""
        lasts, size = self.downloaded - self.pulled, self.spec.weights_gib * 2**30
        if not lasts:
            return [(self.pulled + 8, f"llm-bot: {int(size)} bytes after 0 s")]
        counted = [
            (self.pulled + 8 + second, f"llm-bot: {int(size * second / lasts)} bytes after {second} s")
            for second in range(0, ceil(lasts), COUNTED_EVERY)
        ]
        took = f"Time spent downloading weights for {self.spec.repo}: {lasts:.6f} seconds"
        return [*counted, (self.downloaded + 8, f"[weight_utils.py:273] {took}")]


def timeline(spec: Spec, begun: datetime, *, image_there: bool, cached: bool) -> Timeline:
    """The start of a pod that gets its node at `begun`. `image_there`: the node has the image already;
    `cached`: the weights are downloaded already.

    A deployment whose name begins with `fail-` runs out of GPU memory, to show what that looks like."""
    pulled = SCHEDULING + (PREPARE if image_there else PULL)
    downloaded = pulled + (0.0 if cached else spec.weights_gib * DOWNLOAD_PER_GIB)
    fails = FAILURES["cuda_oom"] if spec.name.startswith("fail-") else ""
    shards = ceil(spec.weights_gib / SHARD_GIB) or 1
    return Timeline(spec, begun, pulled, downloaded, shards, pulls=not image_there, fails=fails)
