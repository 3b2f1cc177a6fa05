"""What only the real API server, scheduler, controllers and authorizer can show."""

import asyncio
import base64
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from bot.app.engines import ENGINE
from bot.app.settings import Settings
from bot.cluster import web_ui
from bot.cluster.client import Json
from bot.cluster.manifests import ApiKey, WorkloadSettings, workload_objects
from bot.core.chat.errors import UserError
from bot.core.deployment.record import Record, RecordChanges, SleepReason, SleepState
from bot.core.deployment.workload import Phase, Spec
from tests.conftest import PATIENCE, Chat, eventually, text_of
from tests.real.control_plane import ControlPlane
from tests.real.pod_status import MERGE_PATCH
from tests.real.world import RealWorld, at_work, real_world

ROOT = Path(__file__).parents[2]
RECORD = Record(owner="ada", owner_name="ada", start_requested_at=datetime(2030, 1, 1, tzinfo=UTC))


def spec(name: str = "tinyllama", tp: int = 1) -> Spec:
    repo = "TinyLlama/TinyLlama-1.1B-Chat-v1.0"
    return Spec(name=name, model="tinyllama", repo=repo, max_model_len=2048, tensor_parallel_size=tp)


@pytest_asyncio.fixture
async def world(control_plane: ControlPlane, tmp_path: Path) -> AsyncIterator[RealWorld]:
    async with real_world(control_plane, tmp_path) as world:
        yield world


def phase(world: RealWorld) -> Phase | None:
    return next((workload.phase for workload in world.cluster.workloads()), None)


def command(world: RealWorld, *words: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bot", *words],
        input=stdin,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=PATIENCE,
        env={**os.environ, "KUBECONFIG": str(world.kubeconfig), "NAMESPACE": world.namespace, **env},
    )


async def refused(world: RealWorld, why: str) -> None:
    """Wait until a pod with two GPUs is refused: the API server takes a moment to see a new rule."""
    gpus = {"nvidia.com/gpu": "2"}
    container = {"name": "x", "image": "x", "resources": {"requests": gpus, "limits": gpus}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": [container]}}
    path = f"/api/v1/namespaces/{world.namespace}/pods?dryRun=All"
    create = ("create", "--raw", path, "-f", "-")
    async with asyncio.timeout(PATIENCE):
        while why not in world.plane.kubectl(*create, stdin=json.dumps(pod), check=False):
            await asyncio.sleep(0.1)


async def test_everything_but_the_model_cache_goes_with_the_deployment(world: RealWorld) -> None:
    await world.cluster.create(spec(), RECORD)
    assert "llm-tinyllama" in await world.names("services")
    assert [name for name in await world.names("secrets") if name.startswith("llm-tinyllama-")]
    await eventually(lambda: phase(world) is Phase.READY)
    await world.cluster.remove("tinyllama")

    async def left() -> list[str]:
        kinds = ("deployments", "services", "secrets", "pods")
        return [n for kind in kinds for n in await world.names(kind) if n.startswith("llm-tinyllama")]

    async with asyncio.timeout(PATIENCE):  # a garbage collector that just started takes its time
        while await left():
            await asyncio.sleep(0.1)
    assert await world.names("persistentvolumeclaims") == ["llm-models"]


@pytest.mark.parametrize(
    ("behaviour", "cause", "evidence"),
    [
        ("crash", "crashed", "ValueError: the last line of its log"),
        ("oom", "container_oomkilled", "ValueError"),
        ("image", "image_absent", "failed to pull and unpack image"),
    ],
)
async def test_pods_that_fail_say_why(world: RealWorld, behaviour: str, cause: str, evidence: str) -> None:
    world.kubelet.behave["llm-tinyllama"] = behaviour
    await world.cluster.create(spec(), RECORD)
    await eventually(lambda: phase(world) is Phase.FAILED)
    [workload] = world.cluster.workloads()
    assert workload.cause == cause and evidence in workload.evidence


async def test_a_container_that_is_not_created_shows_the_warning_among_its_events(world: RealWorld) -> None:
    world.kubelet.behave["llm-tinyllama"] = "mount"
    await world.cluster.create(spec(), RECORD)
    await eventually(lambda: [workload.cause for workload in world.cluster.workloads()] == ["config"])
    [workload] = world.cluster.workloads()
    assert workload.phase is Phase.PREPARING
    assert "MountVolume.SetUp failed" in workload.evidence


async def test_a_quota_that_allows_no_pod_is_seen_on_the_replica_set(world: RealWorld) -> None:
    quota = ["create", "quota", "gpus", "--hard=requests.nvidia.com/gpu=1", "-n", world.namespace]
    world.plane.kubectl(*quota)
    await refused(world, "exceeded quota: gpus")
    await world.cluster.create(spec(tp=2), RECORD)
    await eventually(lambda: phase(world) is Phase.FAILED)
    [workload] = world.cluster.workloads()
    assert workload.cause == "quota_too_small" and "exceeded quota: gpus" in workload.evidence


async def test_a_node_that_does_not_answer_loses_its_models_until_it_does(world: RealWorld) -> None:
    await world.cluster.create(spec(), RECORD)
    await eventually(lambda: phase(world) is Phase.READY)
    [node] = world.cluster.workloads()[0].nodes
    world.kubelet.dead.add(node)
    await world.kubelet.beat(node)
    await eventually(lambda: phase(world) is Phase.FAILED)
    [workload] = world.cluster.workloads()
    assert (workload.cause, workload.evidence) == ("node_lost", node)
    assert [n.name for n in world.cluster.nodes() if not n.ready] == [node]
    world.kubelet.dead.clear()
    await world.kubelet.beat(node)
    await eventually(lambda: phase(world) is Phase.READY)


async def test_an_evicted_pod_that_was_replaced_is_no_failure(world: RealWorld) -> None:
    world.kubelet.behave["llm-tinyllama"] = "evict"
    await world.cluster.create(spec(), RECORD)
    await eventually(lambda: world.kubelet.evicted and phase(world) is Phase.READY)
    pods = (await world.admin.request("GET", f"/api/v1/namespaces/{world.namespace}/pods"))["items"]
    assert {"Failed", "Running"} <= {pod["status"]["phase"] for pod in pods}
    assert world.cluster.workloads()[0].cause == ""


async def test_a_pod_that_does_not_end_is_seen_with_since_when(world: RealWorld) -> None:
    await world.cluster.create(spec(), RECORD)
    await eventually(lambda: phase(world) is Phase.READY)
    world.kubelet.behave["llm-tinyllama"] = "linger"
    before = datetime.now(UTC) - timedelta(seconds=2)
    await world.cluster.scale("tinyllama", 0)
    await eventually(lambda: world.cluster.workloads()[0].ending_since)
    [workload] = world.cluster.workloads()
    assert phase(world) is Phase.DRAINING and workload.ending_since and workload.ending_since > before
    world.kubelet.behave.clear()
    await eventually(lambda: phase(world) is Phase.ASLEEP)
    assert world.cluster.workloads()[0].ending_since is None


@pytest.mark.parametrize(
    ("selector", "storage", "cause"), [({"gpu": "none"}, "", "node"), ({}, "no-such-class", "volume")]
)
async def test_what_can_never_be_placed_says_what_it_misses(
    control_plane: ControlPlane, tmp_path: Path, selector: dict[str, str], storage: str, cause: str
) -> None:
    async with real_world(control_plane, tmp_path, node_selector=selector, storage_class=storage) as world:
        if storage:  # a volume that names its claim is bound to it whatever the class
            world.plane.kubectl("delete", "pv", f"{world.namespace}-readwritemany")
        await world.cluster.create(spec(), RECORD)
        await eventually(lambda: [w.cause for w in world.cluster.workloads()] == [cause])
        assert phase(world) is Phase.SCHEDULING


async def test_a_webhook_that_refuses_pods_is_named(world: RealWorld) -> None:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}
    configuration = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": f"no-{world.namespace}"},
        "webhooks": [
            {
                "name": "no.pods.example.org",
                "rules": [rule],
                "clientConfig": {"url": "https://127.0.0.1:9/"},
                "namespaceSelector": {"matchLabels": {"refuse": "pods"}},
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }
        ],
    }
    world.plane.kubectl("label", "namespace", world.namespace, "refuse=pods")
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    await world.admin.request("POST", path, configuration)
    try:
        await refused(world, "no.pods.example.org")
        await world.cluster.create(spec(), RECORD)
        await eventually(lambda: phase(world) is Phase.FAILED)
        [workload] = world.cluster.workloads()
        assert workload.cause == "admission_denied" and "no.pods.example.org" in workload.evidence
    finally:
        await world.admin.request("DELETE", f"{path}/no-{world.namespace}")


async def test_a_missing_right_is_named(world: RealWorld) -> None:
    await world.cluster.create(spec(), RECORD)
    world.plane.kubectl("delete", "rolebinding", "llm-bot", "-n", world.namespace)
    for forbidden, verb in (
        (world.cluster.create(spec("another"), RECORD), "create"),
        (world.cluster.scale("tinyllama", 0), "patch"),
    ):
        with pytest.raises(UserError) as refused:
            await forbidden
        assert refused.value.text.key == "error.forbidden"
        assert refused.value.text.params["verb"] == verb
        assert refused.value.text.params["namespace"] == world.namespace

    doctor = command(world, "doctor")
    assert doctor.returncode == 1
    assert "fail  not allowed to create deployments" in doctor.stdout
    assert "apply manifests/bot" in doctor.stdout


async def test_doctor_finds_every_right_of_the_manifests_granted(world: RealWorld) -> None:
    doctor = command(world, "doctor")
    assert doctor.returncode == 0, doctor.stdout
    assert "fail" not in doctor.stdout and "not allowed" not in doctor.stdout
    assert "2 nodes with GPUs: 8 in total" in doctor.stdout


async def test_doctor_says_when_there_is_no_cluster(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bot", "doctor"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "KUBECONFIG": str(tmp_path / "none")},
    )
    assert done.returncode == 1 and "fail  the cluster cannot be reached" in done.stdout


async def test_the_api_server_restarts_and_the_bot_lives_on(world: RealWorld) -> None:
    await world.cluster.create(spec(), RECORD)
    await eventually(lambda: phase(world) is Phase.READY)
    world.plane.stop_api_server()
    try:
        assert phase(world) is Phase.READY  # reading asks the API nothing
        with pytest.raises(UserError) as away:
            await world.cluster.scale("tinyllama", 0)
        assert away.value.text.key == "error.api_away"
    finally:
        await asyncio.to_thread(world.plane.start_api_server)
    world.plane.kubectl("scale", "deployment", "llm-tinyllama", "--replicas=0", "-n", world.namespace)
    await eventually(lambda: phase(world) is Phase.ASLEEP)
    await world.cluster.scale("tinyllama", 1)
    await eventually(lambda: phase(world) is Phase.READY)


async def test_a_restart_of_the_api_server_raises_no_alarm_and_hides_none(world: RealWorld) -> None:
    settings = Settings(_env_file=None, admin_channel="console:admins", database_url="sqlite://")
    chat, now = Chat(), datetime.now(UTC)

    def alerts() -> list[str]:
        return [text_of(alert[-1]).params["what"].params["about"] for alert in chat.messages.values()]

    async with at_work(settings, world.cluster, chat):
        for name in ("bad", "good", "later"):
            world.kubelet.behave[f"llm-{name}"] = "image" if name == "bad" else "hold"
            await world.cluster.create(spec(name), RECORD.changed(start_requested_at=now))
        await eventually(lambda: alerts() == ["bad"])
        [later] = await world.pods("later")
        world.plane.stop_api_server()
        await asyncio.to_thread(world.plane.start_api_server)
        begun = asyncio.get_running_loop().time()
        await world.kubelet.crash(later)  # before the bot has noticed that the server is back
        await eventually(lambda: "later" in alerts())
        assert asyncio.get_running_loop().time() - begun < 40  # ten on an idle machine
        await world.kubelet.get_ready(later)
        await eventually(lambda: len(chat.messages) == 2 and "resolved" in text_of(chat.last).key)
        assert alerts() == ["bad", "later"]


async def test_what_a_crash_left_out_is_made_with_the_key_of_before(world: RealWorld) -> None:
    await world.cluster.create(spec(), RECORD)

    async def key() -> str:
        [name] = [name for name in await world.names("secrets") if name.startswith("llm-tinyllama-")]
        secret = await world.admin.request("GET", f"/api/v1/namespaces/{world.namespace}/secrets/{name}")
        return base64.b64decode(secret["data"]["api-key"]).decode()

    async def lose(kind: str) -> None:
        """As if the bot had been killed before it made it."""
        [name] = [name for name in await world.names(kind) if name.startswith("llm-tinyllama")]
        await world.admin.request("DELETE", f"/api/v1/namespaces/{world.namespace}/{kind}/{name}")
        half = {"metadata": {"annotations": {"llm-bot/creating": "1"}}, "spec": {"replicas": 0}}
        path = f"/apis/apps/v1/namespaces/{world.namespace}/deployments/llm-tinyllama"
        made = await world.admin.request("PATCH", path, half, None, MERGE_PATCH)
        version = int(made["metadata"]["resourceVersion"])
        await eventually(lambda: int(world.cluster.workloads()[0].version) >= version)

    before = await key()
    assert before == (await world.cluster.endpoint("tinyllama")).api_key
    for kind in ("services", "secrets"):
        await lose(kind)
        await world.cluster.complete("tinyllama")
        assert "llm-tinyllama" in await world.names("services") and await key() == before


@pytest.mark.parametrize(
    "words", [("llama-3-8b",), ("qwen2.5-7b", "quant=gptq", "name=q", "replicas=2", "ttl=4h")]
)
async def test_what_render_prints_can_be_applied(world: RealWorld, words: tuple[str, ...]) -> None:
    rendered = command(world, "render", "deploy", *words)
    assert rendered.returncode == 0, rendered.stderr
    said = world.plane.kubectl("apply", "--dry-run=server", "-f", "-", stdin=rendered.stdout)
    assert said.count("created (server dry run)") + said.count("unchanged (server dry run)") == 4


async def test_annotations_that_somebody_broke_hide_one_workload_and_not_the_others(world: RealWorld) -> None:
    await world.cluster.create(spec("one"), RECORD)
    await world.cluster.create(spec("two"), RECORD)
    broken = {"metadata": {"annotations": {"llm-bot/spec": "{nonsense"}}}
    path = f"/apis/apps/v1/namespaces/{world.namespace}/deployments/llm-one"
    await world.admin.request("PATCH", path, broken, None, "application/merge-patch+json")
    await eventually(lambda: {w.name: w.phase for w in world.cluster.workloads()}.get("two") is Phase.READY)


async def test_a_terminal_on_a_real_cluster_survives_nonsense(world: RealWorld) -> None:
    nonsense = [
        "",
        "   ",
        "deploy",
        "deploy llama-3-8b tp=1",
        "depoly lama-3-8b",
        "99",
        "stop nothing",
        "\x1b[2J",
        "ask",
    ]
    done = command(world, "run", "--platform", "console", stdin="\n".join(nonsense) + "\nwhoami\n")
    assert done.returncode == 0 and done.stderr == ""
    assert "weights alone are 15.0 of 14.2 usable GiB" in done.stdout
    assert json.dumps(world.namespace)[1:-1] in done.stdout and "Traceback" not in done.stdout


async def test_the_service_answers_health_checks_and_ends_on_sigterm(
    world: RealWorld, unused_tcp_port: int
) -> None:
    import aiohttp

    service = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot", "run"),
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
        env={
            **os.environ,
            "KUBECONFIG": str(world.kubeconfig),
            "NAMESPACE": world.namespace,
            "HTTP_HOST": "127.0.0.1",
            "HTTP_PORT": str(unused_tcp_port),
        },
    )
    async with aiohttp.ClientSession() as session, asyncio.timeout(PATIENCE):
        while True:
            try:
                async with session.get(f"http://127.0.0.1:{unused_tcp_port}/readyz") as answer:
                    assert answer.status == 200
                    break
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.1)
        async with session.get(f"http://127.0.0.1:{unused_tcp_port}/metrics") as answer:
            assert "llm_bot_commands" in await answer.text()
    service.terminate()
    _, said = await asyncio.wait_for(service.communicate(), PATIENCE)
    assert service.returncode == 0, said.decode()


def managed(world: RealWorld) -> str | None:
    return next((workload.managed_by for workload in world.cluster.workloads()), None)


async def test_replicas_that_somebody_else_set_are_not_ours_until_we_set_them_again(world: RealWorld) -> None:
    await world.cluster.create(spec(), RECORD)
    await eventually(lambda: phase(world) is Phase.READY)
    assert managed(world) == ""
    deployment = ("deployment", "llm-tinyllama", "-n", world.namespace)
    world.plane.kubectl("scale", *deployment, "--replicas=2")
    await eventually(lambda: "kubectl" in (managed(world) or ""))
    await world.cluster.change(spec(), RECORD, awake=True)
    await eventually(lambda: managed(world) == "")
    world.plane.kubectl("autoscale", *deployment, "--max=3")
    await eventually(lambda: managed(world) == "HorizontalPodAutoscaler")
    world.plane.kubectl("delete", "hpa", "llm-tinyllama", "-n", world.namespace)
    await eventually(lambda: managed(world) == "")
    world.plane.kubectl("label", *deployment, "argocd.argoproj.io/instance=llms")
    await eventually(lambda: managed(world) == "Argo CD")


async def test_a_replica_is_known_by_its_pod_and_restart(world: RealWorld) -> None:
    await world.cluster.create(spec(), RECORD)
    await eventually(lambda: phase(world) is Phase.READY)
    [server] = world.cluster.servers("tinyllama")
    assert server.id.endswith("/0") and server.url == "http://127.0.0.1:9"


async def test_what_the_sweep_remembers_is_read_back(world: RealWorld) -> None:
    now = datetime(2030, 1, 2, tzinfo=UTC)
    await world.cluster.create(spec(), RECORD)
    told: RecordChanges = {
        "warned_at": now,
        "warning_message_id": "m7",
        "keep_until": now,
        "idle_window": timedelta(hours=2),
        "sleep_state": SleepState(reason=SleepReason.IDLE),
    }
    await world.cluster.update_record("tinyllama", **told)
    [workload] = world.cluster.workloads()
    assert {name: getattr(workload.record, name) for name in told} == told
    await world.cluster.update_record("tinyllama", warned_at=None, warning_message_id="", keep_until=None)
    [workload] = world.cluster.workloads()
    assert (workload.record.warned_at, workload.record.warning_message_id, workload.record.keep_until) == (
        None,
        "",
        None,
    )


async def test_what_is_remembered_of_nodes_restarts_no_pod_and_a_cordoned_one_is_left(
    world: RealWorld,
) -> None:
    await world.cluster.create(spec(), RECORD.changed(last_nodes=("icc-gpu-2",)))
    await eventually(lambda: phase(world) is Phase.READY)
    [before], [workload] = await world.pods("tinyllama"), world.cluster.workloads()
    assert workload.nodes == ("icc-gpu-2",)
    two = spec().model_copy(update={"replicas": 2})
    await world.cluster.change(two, workload.record, awake=True)
    await eventually(lambda: world.cluster.workloads()[0].ready_replicas == 2)
    assert before["metadata"]["uid"] in [pod["metadata"]["uid"] for pod in await world.pods("tinyllama")]
    last = world.cluster.workloads()[0].nodes_to_remember
    await world.cluster.scale("tinyllama", 0, last_nodes=last)
    await eventually(lambda: phase(world) is Phase.ASLEEP)
    world.plane.kubectl("cordon", "icc-gpu-2")
    try:
        await world.cluster.change(spec(), world.cluster.workloads()[0].record, awake=True)
        await eventually(lambda: phase(world) is Phase.READY)
        assert world.cluster.workloads()[0].nodes == ("icc-gpu-1",)
    finally:
        world.plane.kubectl("uncordon", "icc-gpu-2")


async def test_pods_pass_the_strictest_pod_security(world: RealWorld) -> None:
    settings = WorkloadSettings(namespace=world.namespace)
    model = workload_objects(spec(tp=2), RECORD, settings, ENGINE, ApiKey("x", ""))["Deployment"]
    page = web_ui.objects({}, "ada", settings, "")["Deployment"]
    own = yaml.safe_load((ROOT / "manifests" / "bot" / "deployment.yaml").read_text())
    world.plane.kubectl(
        "label", "namespace", world.namespace, "pod-security.kubernetes.io/enforce=restricted"
    )

    def said(deployment: Json) -> str:
        template = deployment["spec"]["template"]
        metadata = {"name": "x", "namespace": world.namespace}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        create = ("create", "--dry-run=server", "-f", "-")
        return world.plane.kubectl(*create, stdin=json.dumps(pod), check=False)

    root = deepcopy(own)
    del root["spec"]["template"]["spec"]["securityContext"]
    await eventually(lambda: "violates PodSecurity" in said(root))  # the label counts by now
    files = (ENGINE.manifest, web_ui.MANIFEST)  # as they are applied by hand
    by_hand = [thing for file in files for thing in yaml.safe_load_all(file.read_text())]
    for deployment in (model, page, own, *(one for one in by_hand if one["kind"] == "Deployment")):
        assert "pod/x created (server dry run)" in said(deployment)
