"""What a kubelet writes about a pod with one container, step by step.

tests/fixtures/kubelet has it recorded from a real one, and tests/real/test_kubelet.py holds this to it."""

from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]
MERGE_PATCH = "application/merge-patch+json"
FIRST_BACK_OFF, LONGEST_BACK_OFF = 10, 300
"""Seconds before a third run, and before any: it doubles in between. The second run follows at once."""
LOG_TAIL = 2048
"""Bytes of a container's log that a kubelet keeps as the message of its end (`FallbackToLogsOnError`)."""


def stamp() -> str:
    """Now, as the API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class PodStatus:
    """One pod's status; every step changes it, `body` is what to write then."""

    def __init__(self, pod: Json) -> None:
        metadata, self._spec = pod["metadata"], pod["spec"]["containers"][0]
        self._full_name = f"{metadata['name']}_{metadata['namespace']}({metadata['uid']})"
        self._pod_name = metadata["name"]
        self._began = stamp()
        self._conditions: dict[str, Json] = {}
        self._pod: Json = {"phase": "Pending"}
        self._container: Json = {"ready": False, "started": False, "restartCount": 0, "state": {}}
        self._set("PodReadyToStartContainers", "PodSandboxNotReady", "no pod sandbox exists")
        self._set("Initialized")
        self._unready("ContainersNotReady", f"containers with unready status: [{self.container}]")
        self._set("PodScheduled")
        self.waits("ContainerCreating")

    @property
    def container(self) -> str:
        """The name of its container."""
        return str(self._spec["name"])

    @property
    def image(self) -> str:
        """What its container runs."""
        return str(self._spec["image"])

    @property
    def ran(self) -> bool:
        """Its container has come to an end before."""
        return "lastState" in self._container or "terminated" in self._container["state"]

    @property
    def waiting(self) -> bool:
        """Its container is to be started, for the first time or again."""
        return "waiting" in self._container["state"]

    def sandboxed(self) -> None:
        """Its network and cgroup are there."""
        self._set("PodReadyToStartContainers")

    def waits(self, reason: str, message: str = "") -> None:
        """Its container is not made yet, or cannot be."""
        self._container["state"] = {"waiting": {"reason": reason} | ({"message": message} if message else {})}

    def runs(self) -> None:
        """Its container was started, for the first time or again."""
        if self.ran:
            self._remember()
            self._container["restartCount"] += 1
        self._pod |= {"phase": "Running", "podIP": "127.0.0.1"}
        self._container["state"] = {"running": {"startedAt": stamp()}}

    def passed(self) -> None:
        """The startup probe was answered."""
        self._container["started"] = True

    def ready(self) -> None:
        """The readiness probe was answered."""
        self._container |= {"ready": True, "started": True}
        self._set("Ready")
        self._set("ContainersReady")

    def ended(self, code: int, reason: str, log: list[str]) -> None:
        """Its container came to an end, with the end of its log as message unless all is well."""
        began = self._container["state"].get("running", {}).get("startedAt", stamp())
        message = "".join(f"{line}\n" for line in log)[-LOG_TAIL:] if code else ""
        end = {"exitCode": code, "reason": reason, "startedAt": began, "finishedAt": stamp()}
        self._container |= {"ready": False, "started": False}
        self._container["state"] = {"terminated": end | ({"message": message} if message else {})}
        self._unready("ContainersNotReady", f"containers with unready status: [{self.container}]")

    def backs_off(self) -> None:
        """It waits before it runs once more."""
        self._remember()
        seconds = min(FIRST_BACK_OFF * 2 ** (self._container["restartCount"] - 1), LONGEST_BACK_OFF)
        minutes = f"{seconds // 60}m" if seconds >= 60 else ""
        words = f"back-off {minutes}{seconds % 60}s restarting failed container={self.container}"
        self.waits("CrashLoopBackOff", f"{words} pod={self._full_name}")

    def evicted(self, message: str) -> None:
        """The node needs what it has; it stays as it is until somebody deletes it."""
        self.ended(137, "Error", [])
        self._pod |= {"phase": "Failed", "reason": "Evicted", "message": message}
        self._set("PodReadyToStartContainers", "PodSandboxNotReady", "pod sandbox is not ready")
        self._unready("PodFailed")

    def stopped(self) -> None:
        """It was to go, and its container has ended well."""
        self.ended(0, "Completed", [])
        self._pod |= {"phase": "Succeeded"}
        self._set("PodReadyToStartContainers", "PodSandboxNotReady", "pod sandbox is not ready")
        self._conditions["Initialized"]["reason"] = "PodCompleted"
        self._unready("PodCompleted")

    def back_off_words(self) -> str:
        """What the event says of a container that is not started again yet."""
        return f"Back-off restarting failed container {self.container} in pod {self._full_name}"

    def body(self) -> Json:
        """To be merged into the pod."""
        container = {"name": self.container, "image": self.image, "imageID": "", "lastState": {}}
        conditions = list(self._conditions.values())
        statuses = [container | self._container]
        status = {"startTime": self._began, "conditions": conditions, "containerStatuses": statuses}
        return {"status": self._pod | status}

    def _remember(self) -> None:
        if "terminated" in self._container["state"]:
            self._container["lastState"] = self._container["state"]

    def _unready(self, reason: str, message: str = "") -> None:
        self._set("Ready", reason, message)
        self._set("ContainersReady", reason, message)

    def _set(self, kind: str, reason: str = "", message: str = "") -> None:
        """A condition: true, or not for a reason. Its time is that of its last change."""
        now: Json = {"type": kind, "status": "False" if reason else "True"}
        before = self._conditions.get(kind, {})
        changed = before.get("status") != now["status"]
        now["lastTransitionTime"] = stamp() if changed else before["lastTransitionTime"]
        self._conditions[kind] = now | {k: v for k, v in (("reason", reason), ("message", message)) if v}
