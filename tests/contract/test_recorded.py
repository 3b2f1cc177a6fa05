"""Every recorded case of a real kubelet, and what the bot says of it."""

import pytest

from bot.cluster.waits import PATIENCE
from bot.core.deployment.workload import Phase
from tests.cluster.recorded import CASES, RECORDED, SEQUENCES, Replay, cards, case, sequence

GOLDEN = RECORDED.parents[1] / "cluster" / "golden"
SEEN = {
    "abort-as-first-process": ("failed", "segfault", "segfault x5", ""),
    "bad-name": ("failed", "image_name", "", ""),
    "claim-absent": ("scheduling", "volume", "", ""),
    "claim-no-class": ("scheduling", "volume", "", ""),
    "claim-pending": ("scheduling", "volume", "", ""),
    "config-map-gone": ("preparing", "config", "crashed x1", "config_missing"),
    "containerd-restart": ("preparing", "config", "", "config_missing"),
    "cordoned": ("scheduling", "cordoned", "", ""),
    "crash": ("failed", "crashed", "crashed x7", ""),
    "crash-after-ready": ("failed", "crashed", "crashed x3", ""),
    "deaf-to-sigterm": ("draining", "", "", ""),
    "disk-pressure-at-start": ("scheduling", "", "disk_pressure x1", ""),
    "drained": ("scheduling", "", "drained x1", ""),
    "empty-dir-full": ("scheduling", "", "disk_limit x1", ""),
    "ephemeral-storage": ("scheduling", "", "disk_limit x1", ""),
    "evicted-container-unknown": ("scheduling", "", "disk_limit x1", ""),
    "exit-0": ("failed", "ended_by_itself", "ended_by_itself x5", ""),
    "exit-1": ("failed", "crashed", "crashed x5", ""),
    "exit-126": ("failed", "not_executable", "not_executable x5", ""),
    "exit-127": ("failed", "no_program", "no_program x5", ""),
    "exit-134": ("failed", "aborted", "aborted x5", ""),
    "exit-137-by-itself": ("failed", "killed", "killed x5", ""),
    "exit-139": ("failed", "segfault", "segfault x4", ""),
    "exit-143": ("failed", "terminated", "terminated x5", ""),
    "exit-255": ("failed", "crashed", "crashed x5", ""),
    "full-disk": ("scheduling", "", "disk_limit x1", ""),
    "gpu-lost": ("queued", "", "", ""),
    "gpu-refused": ("scheduling", "", "gpu_lost x1", ""),
    "host-path-absent": ("preparing", "mount", "", ""),
    "key-not-in-secret": ("preparing", "config", "", "config_missing"),
    "limit-range": ("failed", "limit_range", "", ""),
    "liveness-kill": ("ready", "", "stopped_answering x2", ""),
    "liveness-kill-graceful": ("ready", "", "stopped_answering x3", ""),
    "memory-pressure": ("scheduling", "", "memory_pressure x1", ""),
    "nfs-away": ("preparing", "mount", "", ""),
    "no-command": ("failed", "no_program", "no_program x7", ""),
    "no-cpu": ("scheduling", "cpu", "", ""),
    "no-gpu": ("queued", "", "", ""),
    "no-memory": ("scheduling", "memory", "", ""),
    "no-sandbox": ("preparing", "sandbox", "", ""),
    "no-secret": ("preparing", "config", "", "config_missing"),
    "no-volume": ("preparing", "config", "", "config_missing"),
    "node-lost": ("failed", "node_lost", "", ""),
    "node-lost-replaced": ("scheduling", "", "node_lost x1", ""),
    "not-executable": ("failed", "not_executable", "not_executable x5", ""),
    "oom": ("failed", "container_oomkilled", "container_oomkilled x7", ""),
    "oom-child": ("failed", "container_oomkilled", "container_oomkilled x5", ""),
    "other-architecture-program": ("failed", "other_processor", "other_processor x5", ""),
    "out-of-gpus": ("scheduling", "", "gpu_lost x1", ""),
    "pid-limit": ("failed", "crashed", "crashed x3", ""),
    "plugin-gone": ("ready", "", "", ""),
    "pod-security": ("failed", "admission_denied", "", ""),
    "pre-stop-fails": ("draining", "", "", ""),
    "preempted": ("scheduling", "", "preempted x1", ""),
    "preempting": ("ready", "", "", ""),
    "progress-deadline": ("pulling", "pull", "", "image_pull"),
    "pull-missing": ("pulling", "pull", "", "image_pull"),
    "pull-never": ("failed", "image_pull", "", ""),
    "pull-no-registry": ("pulling", "pull", "", "image_pull"),
    "pull-no-such-tag": ("pulling", "pull", "", "image_absent"),
    "pull-other-architecture": ("pulling", "pull", "", "image_platform"),
    "pull-private": ("pulling", "pull", "", "image_denied"),
    "pull-rate-limit": ("pulling", "pull", "", "image_limit"),
    "pull-registry-down": ("pulling", "pull", "", "image_pull"),
    "quota-exceeded": ("failed", "quota_too_small", "", ""),
    "root-image": ("failed", "root_image", "", ""),
    "secret-late": ("ready", "", "", ""),
    "segv": ("failed", "segfault", "segfault x7", ""),
    "segv-as-first-process": ("failed", "segfault", "segfault x5", ""),
    "service-account-absent": ("failed", "admission_denied", "", ""),
    "silent-exit": ("failed", "ended_by_itself", "ended_by_itself x7", ""),
    "slow-start": ("failed", "not_ready_in_time", "not_ready_in_time x2", ""),
    "startup-kill": ("failed", "not_ready_in_time", "not_ready_in_time x4", ""),
    "startup-kill-graceful": ("failed", "not_ready_in_time", "not_ready_in_time x5", ""),
    "success": ("draining", "", "", ""),
    "success-pulled": ("draining", "", "", ""),
    "tainted": ("scheduling", "", "tainted x1", ""),
    "too-many": ("queued", "", "", ""),
    "too-many-pods": ("scheduling", "pods", "", ""),
    "unready-again": ("loading", "unready", "", ""),
    "untolerated-taint": ("scheduling", "taints", "", ""),
    "volume-config-map-absent": ("preparing", "config", "", "config_missing"),
    "volume-in-use": ("preparing", "volume_used", "", ""),
    "volume-on-other-node": ("scheduling", "volume_node", "", ""),
    "wrong-node": ("scheduling", "node", "", ""),
}
"""By case: the phase, the cause, how the last run ended and how many have, and the cause of the failure that
it is when it lasts."""
STORIES = {
    "asleep": """
        scheduling
        preparing
        loading
        ready
        draining
        asleep
        scheduling
        preparing
        loading
        ready
    """,
    "config-map-gone": """
        scheduling
        preparing
        loading
        preparing (restart) [crashed x1]
        preparing (config) [crashed x1]
        preparing (restart) [crashed x1]
        preparing (config) [crashed x1]
    """,
    "containerd-restart": """
        scheduling
        preparing (runtime)
    """,
    "crash-after-ready": """
        scheduling
        preparing
        loading
        ready
        preparing (restart) [crashed x1]
        loading [crashed x1]
        ready [crashed x1]
        ready
        preparing (restart) [crashed x1]
        loading [crashed x1]
        ready [crashed x1]
        ready
    """,
    "deaf-to-sigterm": """
        scheduling
        preparing
        loading
        ready
        draining
        asleep
    """,
    "drained": """
        scheduling
        preparing
        loading
        ready
        scheduling [drained x1]
        scheduling (cordoned) [drained x1]
        scheduling (taints) [drained x1]
        preparing [drained x1]
        loading [drained x1]
        ready [drained x1]
        ready
    """,
    "ephemeral-storage": """
        scheduling
        preparing
        loading
        scheduling [disk_limit x1]
        preparing [disk_limit x1]
        loading [disk_limit x1]
        failed [disk_limit x2]
    """,
    "exit-1": """
        scheduling
        preparing
        loading
        preparing (restart) [crashed x1]
        loading [crashed x1]
        failed [crashed x2]
        failed [crashed x3]
        failed [crashed x4]
    """,
    "gpu-lost": """
        scheduling
        queued
        preparing
        loading
        ready
        scheduling
        queued
        preparing
        loading
        ready
    """,
    "gpu-refused": """
        scheduling
        preparing
        scheduling [gpu_lost x1]
        preparing [gpu_lost x1]
        scheduling [gpu_lost x1]
        preparing [gpu_lost x1]
        scheduling [gpu_lost x1]
    """,
    "liveness-kill": """
        scheduling
        preparing
        loading
        ready
        loading (unready)
        loading [stopped_answering x1]
        ready [stopped_answering x1]
        ready
        loading (unready)
        loading [stopped_answering x1]
        ready [stopped_answering x1]
        ready
    """,
    "memory-pressure": """
        scheduling
        preparing
        loading
        scheduling [memory_pressure x1]
        scheduling (taints) [memory_pressure x1]
        preparing [memory_pressure x1]
        loading [memory_pressure x1]
        scheduling [memory_pressure x1]
    """,
    "no-sandbox": """
        scheduling
        preparing
        preparing (sandbox)
    """,
    "node-lost": """
        scheduling
        preparing
        loading
        ready
        failed
        loading (unready)
        ready
    """,
    "node-lost-replaced": """
        scheduling
        preparing
        loading
        ready
        failed
        scheduling [node_lost x1]
        scheduling (taints) [node_lost x1]
        preparing [node_lost x1]
        loading [node_lost x1]
        ready [node_lost x1]
        ready
    """,
    "pid-limit": """
        scheduling
        preparing
        loading
        preparing (restart) [crashed x1]
        loading [crashed x1]
        failed [crashed x2]
        failed [crashed x3]
    """,
    "preempted": """
        scheduling
        preparing
        loading
        ready
        scheduling [preempted x1]
        queued [preempted x1]
    """,
    "pull-fails-then-succeeds": """
        scheduling
        preparing
        pulling
        pulling (pull)
        loading
        ready
        scheduling
    """,
    "secret-late": """
        scheduling
        preparing
        preparing (config)
        loading
        ready
    """,
    "startup-kill": """
        scheduling
        preparing
        loading
        loading (too_slow)
        loading [not_ready_in_time x1]
        loading (too_slow) [not_ready_in_time x1]
        failed [not_ready_in_time x2]
        failed [not_ready_in_time x3]
    """,
    "success": """
        scheduling
        preparing
        loading
        ready
    """,
    "success-pulled": """
        scheduling
        preparing
        pulling
        preparing
        loading
        ready
        scheduling
    """,
    "tainted": """
        scheduling
        preparing
        loading
        ready
        scheduling [tainted x1]
        scheduling (taints) [tainted x1]
        preparing [tainted x1]
        loading [tainted x1]
        ready [tainted x1]
        ready
    """,
    "unready-again": """
        scheduling
        preparing
        loading
        ready
        loading (unready)
    """,
}
"""By sequence: each phase, its cause, and how the runs before ended."""


def test_every_case_is_here() -> None:
    assert (set(SEEN), set(STORIES)) == (set(CASES), set(SEQUENCES))


@pytest.mark.parametrize("name", SEEN)
def test_a_case_is_called_what_it_is(name: str) -> None:
    seen, lasting = case(name), case(name, waited=PATIENCE)
    ended = f"{seen.last_end.cause} x{seen.ends}" if seen.last_end and seen.ends else ""
    later = lasting.cause if lasting.phase is not seen.phase else ""
    assert (seen.phase, seen.cause, ended, later) == SEEN[name]


@pytest.mark.parametrize("language", ["en", "de"])
def test_every_card_says_what_it_is_and_what_to_do(language: str) -> None:
    assert cards(language) == (GOLDEN / f"cards.{language}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", STORIES)
def test_a_story_is_told_as_it_went(name: str) -> None:
    replay, told = Replay(), [""]
    for _, how, kind, thing in sequence(name):
        seen = replay.hear(how, kind, thing)
        waits = f" ({seen.cause})" if seen.cause and seen.phase is not Phase.FAILED else ""
        ended = f" [{seen.last_end.cause} x{seen.ends}]" if seen.last_end and seen.ends else ""
        if told[-1] != (now := f"{seen.phase.value}{waits}{ended}"):
            told.append(now)
    assert told[1:] == [line.strip() for line in STORIES[name].strip().splitlines()]
