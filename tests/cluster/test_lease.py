"""Who does the background work, by a Lease on the real API server."""

import asyncio
import itertools
import json
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bot.cluster.client import Api, connect
from bot.cluster.lease import LeaseLeadership, lease_leadership
from bot.cluster.lease_lock import NAME, Timing, host, identity
from bot.core.chat.errors import UserError
from tests.conftest import PATIENCE, eventually
from tests.real.bot_rights import install
from tests.real.control_plane import ControlPlane

_numbers = itertools.count(1)
QUICK = Timing(lease=4, renew_deadline=2.5, retry=1.0, request=1.0)


class Process:
    """One of several bots: when it worked, and when it knew that somebody else does."""

    def __init__(self, leadership: LeaseLeadership) -> None:
        self.leadership = leadership
        self.works = self.follows = False
        self.terms = 0
        self.gone: list[str] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Process"]:
        task = asyncio.create_task(self.leadership.lead(self._work, self._follow, self._hear))
        try:
            yield self
            assert not task.done(), task.exception()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert not self.works and not self.follows

    async def _work(self) -> None:
        self.works, self.terms = True, self.terms + 1
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.1)  # whatever it does at its end
            self.works = False

    async def _hear(self, gone: str) -> None:
        self.gone.append(gone)

    async def _follow(self) -> None:
        self.follows = True
        try:
            await asyncio.Event().wait()
        finally:
            self.follows = False


class Namespace:
    """Bots of one namespace, each with connections of its own; never do two of them work."""

    def __init__(self, plane: ControlPlane, kubeconfig: str, name: str) -> None:
        self.plane, self.kubeconfig, self.name = plane, kubeconfig, name
        self.apis: list[Api] = []
        self.processes: list[Process] = []

    async def bot(self, identity: str, timing: Timing = QUICK) -> Process:
        api = await connect(self.kubeconfig)
        self.apis.append(api)
        process = Process(LeaseLeadership(api.client, self.name, identity, timing))
        self.processes.append(process)
        return process

    async def watch(self) -> None:
        while True:
            at_work = [process for process in self.processes if process.works]
            assert len(at_work) <= 1, "two at once"
            await asyncio.sleep(0.01)

    def lease(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            self.plane.kubectl("get", "lease", NAME, "-n", self.name, "-o", "json")
        )
        return found

    async def holder(self) -> str:
        found = await asyncio.to_thread(self.lease)
        return str(found["spec"].get("holderIdentity", ""))


@pytest_asyncio.fixture
async def namespace(control_plane: ControlPlane, tmp_path: Path) -> AsyncIterator[Namespace]:
    name = f"lease-{next(_numbers)}"
    found = Namespace(control_plane, str(install(control_plane, tmp_path, name)), name)
    watching = asyncio.create_task(found.watch())
    yield found
    assert not watching.done(), watching.exception()
    watching.cancel()
    for api in found.apis:
        await api.close()


async def within(seconds: float, true: Callable[[], object]) -> float:
    """Seconds until it came true."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await eventually(true, seconds)
    return loop.time() - begun


async def test_one_works_and_the_next_takes_over_when_it_ends(namespace: Namespace) -> None:
    first, second = await namespace.bot("pod-a_1", Timing()), await namespace.bot("pod-b_1", Timing())
    async with second.running():
        async with first.running():
            await eventually(lambda: first.works or second.works)
            leader, other = (first, second) if first.works else (second, first)
            await eventually(lambda: other.follows)
            assert other.leadership.holder == leader.leadership.holder != ""
        if not second.works:
            assert await within(3.5, lambda: second.works) < 3.5  # asked again every 2 s
        assert not second.follows
    assert await namespace.holder() == ""


async def test_one_that_dies_is_followed_once_its_lease_is_over(namespace: Namespace) -> None:
    script = (
        "import asyncio, sys\n"
        "from tests.cluster.test_lease import QUICK, Process\n"
        "from bot.cluster.client import connect\n"
        "from bot.cluster.lease import LeaseLeadership\n"
        "async def main():\n"
        "    api = await connect(sys.argv[1])\n"
        "    process = Process(LeaseLeadership(api.client, sys.argv[2], 'pod-a_1', QUICK))\n"
        "    async with process.running():\n"
        "        while not process.works: await asyncio.sleep(0.01)\n"
        "        print('works', flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    words = [sys.executable, "-c", script, namespace.kubeconfig, namespace.name]
    dying = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    assert dying.stdout
    try:
        async with asyncio.timeout(PATIENCE):
            while await dying.stdout.readline() != b"works\n":  # its log comes the same way
                pass
        async with (await namespace.bot("pod-b_1")).running() as next_one:
            await eventually(lambda: next_one.follows)
            dying.kill()
            await dying.wait()
            await eventually(lambda: next_one.works)
    finally:
        if dying.returncode is None:
            dying.kill()
            await dying.wait()


@pytest.mark.parametrize("identity", ["pod-a_1", "laptop_7_guest"])
async def test_who_cannot_renew_stops_before_anybody_may_begin(namespace: Namespace, identity: str) -> None:
    async with (await namespace.bot(identity)).running() as bot:
        await eventually(lambda: bot.works)
        namespace.plane.stop_api_server()
        try:
            assert await within(QUICK.lease, lambda: not bot.works) < QUICK.lease
        finally:
            await asyncio.to_thread(namespace.plane.start_api_server)
        await eventually(lambda: bot.works)
        assert bot.terms == 2


async def test_who_gets_no_answer_for_a_moment_goes_on(namespace: Namespace) -> None:
    """kopiur 319: the first request that was slow ended the work, 14 to 26 times a day."""
    patient = replace(QUICK, lease=10, renew_deadline=8.0)
    async with (await namespace.bot("pod-a_1", patient)).running() as bot:
        await eventually(lambda: bot.works)
        renewed = namespace.lease()["spec"]["renewTime"]
        namespace.plane.freeze_etcd()
        try:
            await asyncio.sleep(3 * patient.request)  # longer than any try
        finally:
            namespace.plane.thaw_etcd()
        async with asyncio.timeout(PATIENCE):
            while (await asyncio.to_thread(namespace.lease))["spec"]["renewTime"] <= renewed:
                await asyncio.sleep(0.1)
        await asyncio.sleep(2 * patient.retry)
        assert bot.works and bot.terms == 1


async def test_who_is_deposed_stops_at_once(namespace: Namespace) -> None:
    async with (await namespace.bot("pod-a_1")).running() as bot:
        await eventually(lambda: bot.works)
        patch = json.dumps({"spec": {"holderIdentity": "somebody-else"}})
        namespace.plane.kubectl("patch", "lease", NAME, "-n", namespace.name, "--type=merge", "-p", patch)
        assert await within(3, lambda: not bot.works) < 2.5
        await eventually(lambda: bot.works)  # somebody else never renews


async def test_a_terminal_beside_the_bot_stays_a_guest_even_when_the_bot_ends(namespace: Namespace) -> None:
    guest = await namespace.bot("laptop_7_guest")
    async with (await namespace.bot("pod-a_1")).running() as bot:
        await eventually(lambda: bot.works)
        async with guest.running():
            await eventually(lambda: guest.follows)
            assert guest.leadership.holder == "pod-a" and not guest.works
        assert bot.works
    async with (await namespace.bot("pod-b_1")).running() as bot, guest.running():
        await eventually(lambda: bot.works or guest.works)


async def test_a_terminal_beside_the_bot_hears_once_that_it_has_gone(namespace: Namespace) -> None:
    guest, bot = await namespace.bot("laptop_7_guest"), await namespace.bot("pod-a_1")
    at_work = AsyncExitStack()
    await at_work.enter_async_context(bot.running())
    await eventually(lambda: bot.works)
    async with at_work, guest.running():
        await eventually(lambda: guest.follows)
        await asyncio.sleep(QUICK.lease + 2 * QUICK.retry)
        assert guest.gone == []
        await at_work.aclose()
        await eventually(lambda: guest.gone)
        await asyncio.sleep(QUICK.lease + 2 * QUICK.retry)
        assert guest.gone == ["pod-a"] and guest.follows and not guest.works


async def test_a_terminal_alone_works_and_makes_room_for_the_bot(namespace: Namespace) -> None:
    async with (await namespace.bot("laptop_7_guest")).running() as guest:
        await eventually(lambda: guest.works)
        async with (await namespace.bot("pod-a_1")).running() as bot:
            assert await within(8, lambda: bot.works) < 8
            assert guest.follows and not guest.works and guest.leadership.holder == "pod-a"
        await asyncio.sleep(2 * QUICK.retry)
        assert guest.follows and not guest.works  # it tries only once
        assert await namespace.holder() == ""
        assert namespace.lease()["metadata"].get("annotations") in (None, {})


async def test_a_terminal_that_comes_after_the_bot_has_ended_works(namespace: Namespace) -> None:
    async with (await namespace.bot("pod-a_1")).running() as bot:
        await eventually(lambda: bot.works)
    async with (await namespace.bot("laptop_7_guest")).running() as guest:
        await eventually(lambda: guest.works or guest.follows)
        assert guest.works


def held(holder: str) -> str:
    """A Lease that somebody has who does not renew it any more."""
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": NAME},
        "spec": {
            "holderIdentity": holder,
            "leaseDurationSeconds": 4,
            "acquireTime": "2030-01-01T00:00:00.000000Z",
            "renewTime": "2030-01-01T00:00:00.000000Z",
        },
    }
    return json.dumps(lease)


async def test_a_terminal_after_one_that_was_killed_waits_until_its_lease_is_over(
    namespace: Namespace,
) -> None:
    namespace.plane.kubectl("apply", "-n", namespace.name, "-f", "-", stdin=held("laptop_6_guest"))
    async with (await namespace.bot("laptop_7_guest")).running() as guest:
        await eventually(lambda: guest.works)


async def test_without_the_right_to_the_lease_nobody_starts(
    namespace: Namespace, control_plane: ControlPlane
) -> None:
    control_plane.kubectl("delete", "rolebinding", "llm-bot", "-n", namespace.name)

    async def refused() -> UserError | None:
        try:
            async with lease_leadership(namespace.kubeconfig, namespace.name, guest=False):
                return None
        except UserError as error:
            return error

    async with asyncio.timeout(PATIENCE):
        while (error := await refused()) is None:  # the API server takes a moment to see a new rule
            await asyncio.sleep(0.1)
    assert (error.text.key, error.text.params["resource"]) == ("error.forbidden", "leases")


class WallClock:
    """The machine's clock, which somebody may set."""

    def __init__(self) -> None:
        self._time = time.time
        self.ahead = 0.0

    def time(self) -> float:
        return self._time() + self.ahead


@pytest.fixture
def wall_clock(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    clock = WallClock()
    monkeypatch.setattr(time, "time", clock.time)
    return clock


async def test_who_has_died_is_followed_although_the_clock_was_set_back(
    namespace: Namespace, wall_clock: WallClock
) -> None:
    namespace.plane.kubectl("apply", "-n", namespace.name, "-f", "-", stdin=held("pod-a_1"))
    async with (await namespace.bot("pod-b_1")).running() as bot:
        await eventually(lambda: bot.leadership.holder == "pod-a")
        wall_clock.ahead = -3600.0
        await eventually(lambda: bot.works)


async def test_who_is_alive_stays_although_the_clock_jumps_ahead(
    namespace: Namespace, wall_clock: WallClock
) -> None:
    slow = Timing(lease=8, renew_deadline=6.0, retry=3.0)
    async with (await namespace.bot("pod-a_1", slow)).running() as bot:
        await eventually(lambda: bot.works)
        async with (await namespace.bot("pod-b_1", replace(slow, retry=1.0))).running() as other:
            await eventually(lambda: other.follows)
            for _ in range(32):
                wall_clock.ahead += 60.0
                await asyncio.sleep(0.25)
            assert bot.works and bot.terms == 1 and not other.works


async def test_processes_of_one_host_differ_and_show_the_host() -> None:
    assert identity(guest=False) != identity(guest=False)
    assert host(identity(guest=False)) == host(identity(guest=True)) == socket.gethostname()
    assert host("my_laptop_1-ab_guest") == host("my_laptop_1-ab") == "my_laptop"
    assert host("somebody-else") == "somebody-else"
