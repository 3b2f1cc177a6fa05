"""The Cluster port over the wire: what is asked for, and what is made of the answers."""

import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from bot.cluster.adapter import KubernetesCluster
from bot.cluster.logs import LONGEST
from bot.core.chat.errors import Changed, NameTaken, UserError
from bot.core.deployment.record import SleepReason, SleepState
from bot.core.deployment.workload import Phase
from bot.engines.vllm.engine import Vllm
from tests.cluster.objects import BEGUN, RECORD, SETTINGS, container, pod, spec
from tests.conftest import eventually
from tests.fakes.kubernetes import FakeKubernetes, Request

CORE = "/api/v1/namespaces/demo"
DEPLOYMENTS = "/apis/apps/v1/namespaces/demo/deployments"
DEPLOYMENT = f"{DEPLOYMENTS}/llm-tiny"
BOT_KEY = f"{CORE}/secrets/llm-bot-key"


def secret_name(kubernetes: FakeKubernetes) -> str:
    """The Secret of the key of `tiny`."""
    [name] = [name for name in kubernetes.names(f"{CORE}/secrets") if name.startswith("llm-tiny-")]
    return name


def held_key(kubernetes: FakeKubernetes) -> str:
    """The key in it, as its pods get it."""
    held = kubernetes.object(f"{CORE}/secrets/{secret_name(kubernetes)}")["data"]
    return base64.b64decode(held["api-key"]).decode()


def is_read_of_secrets(request: Request) -> bool:
    return request.method in ("GET", "WATCH") and "/secrets" in request.path


@pytest_asyncio.fixture
async def cluster(kubernetes: FakeKubernetes, tmp_path: Path) -> AsyncIterator[KubernetesCluster]:
    settings = replace(SETTINGS, hf_token="hf_secret")
    template = "http://{service}.{namespace}.svc:8000"
    async with KubernetesCluster(kubernetes.kubeconfig(tmp_path), settings, template, Vllm()) as cluster:
        yield cluster


async def test_what_is_created_is_seen_at_once_and_belongs_to_the_deployment(
    kubernetes: FakeKubernetes, cluster: KubernetesCluster
) -> None:
    await cluster.create(spec(), RECORD)
    [workload] = cluster.workloads()
    assert (workload.spec, workload.record, workload.phase) == (spec(), RECORD, Phase.SCHEDULING)
    uid = kubernetes.object(DEPLOYMENT)["metadata"]["uid"]
    for path in (f"secrets/{secret_name(kubernetes)}", "services/llm-tiny"):
        [owner] = kubernetes.object(f"{CORE}/{path}")["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"]) == ("Deployment", uid)
    assert "ownerReferences" not in kubernetes.object(f"{CORE}/persistentvolumeclaims/llm-models")["metadata"]
    token = kubernetes.object(f"{CORE}/secrets/llm-hf-token")["data"]["token"]
    assert base64.b64decode(token) == b"hf_secret"


async def test_a_name_is_given_once_and_the_loser_changes_nothing(
    kubernetes: FakeKubernetes, cluster: KubernetesCluster
) -> None:
    await cluster.create(spec(), RECORD)
    key = held_key(kubernetes)
    with pytest.raises(NameTaken) as taken:
        await cluster.create(spec(max_model_len=512), RECORD.changed(owner="eve"))
    assert (taken.value.text.key, taken.value.text.params) == ("deploy.taken_now", {"name": "tiny"})
    assert cluster.workloads()[0].record.owner == "ada"
    assert held_key(kubernetes) == key


async def test_a_replica_that_is_ready_alone_is_asked_itself_before_its_service_knows_it(
    kubernetes: FakeKubernetes, cluster: KubernetesCluster
) -> None:
    await cluster.create(spec(), RECORD)
    service = "http://llm-tiny.demo.svc:8000"
    assert (await cluster.endpoint("tiny")).url == service
    await kubernetes.put(f"{CORE}/pods", pod(name="a", ready=True, podIP="10.0.0.1"))
    await eventually(lambda: len(cluster.servers("tiny")) == 1)
    assert (await cluster.endpoint("tiny")).url == "http://10.0.0.1:8000"
    await kubernetes.put(f"{CORE}/pods", pod(name="b", ready=True, podIP="10.0.0.2"))
    await eventually(lambda: len(cluster.servers("tiny")) == 2)
    assert (await cluster.endpoint("tiny")).url == service


async def test_what_a_crash_left_out_is_made_with_the_key_of_before(
    kubernetes: FakeKubernetes, cluster: KubernetesCluster
) -> None:
    await cluster.create(spec(), RECORD)
    name, key = secret_name(kubernetes), held_key(kubernetes)
    half = kubernetes.object(DEPLOYMENT)
    half["metadata"]["annotations"]["llm-bot/creating"] = "2"
    half["spec"]["replicas"] = 0
    await kubernetes.delete(f"{CORE}/services/llm-tiny")
    await kubernetes.delete(f"{CORE}/secrets/{name}")
    await kubernetes.put(DEPLOYMENTS, half)
    await eventually(lambda: cluster.workloads()[0].replicas == 2)
    assert cluster.workloads()[0].phase is Phase.SCHEDULING  # not asleep
    await cluster.complete("tiny")
    assert kubernetes.holds(f"{CORE}/services/llm-tiny")
    assert (secret_name(kubernetes), held_key(kubernetes)) == (name, key)
    whole = kubernetes.object(DEPLOYMENT)
    assert whole["spec"]["replicas"] == 2 and "llm-bot/creating" not in whole["metadata"]["annotations"]


async def test_a_creation_that_meets_a_conflict_is_finished_later_and_not_undone(
    kubernetes: FakeKubernetes, cluster: KubernetesCluster
) -> None:
    kubernetes.conflicts = ["services"]
    await cluster.create(spec(), RECORD)
    assert kubernetes.holds(DEPLOYMENT) and not kubernetes.holds(f"{CORE}/services/llm-tiny")
    await cluster.complete("tiny")
    assert kubernetes.holds(f"{CORE}/services/llm-tiny")


async def test_what_is_whole_is_completed_without_a_request(
    kubernetes: FakeKubernetes, cluster: KubernetesCluster
) -> None:
    await cluster.create(spec(), RECORD)
    seen = len(kubernetes.requests)
    for name in ("tiny", "never"):
        await cluster.complete(name)
    assert len(kubernetes.requests) == seen


async def test_a_change_is_one_patch_of_arguments_replicas_and_record(
    kubernetes: FakeKubernetes, cluster: KubernetesCluster
) -> None:
    await cluster.create(spec(), RECORD)
    kubernetes.requests.clear()
    record = RECORD.changed(card_message_id="m1")
    await cluster.change(spec(max_model_len=512, replicas=2), record, awake=True)
    [workload] = cluster.workloads()
    assert (workload.replicas, workload.record.card_message_id) == (2, "m1")
    assert "--max-model-len=512" in str(kubernetes.object(DEPLOYMENT)["spec"])
    await cluster.change(spec(replicas=2), record, awake=False)
    assert cluster.workloads()[0].phase is Phase.ASLEEP
    writes = [r for r in kubernetes.requests if r.method not in ("GET", "WATCH") and r.path == DEPLOYMENT]
    assert [r.method for r in writes] == ["PATCH"] * 2


async def test_replicas_and_why_are_one_patch_with_the_version_as_precondition(
    kubernetes: FakeKubernetes, cluster: KubernetesCluster
) -> None:
    await cluster.create(spec(), RECORD)
    seen = cluster.workloads()[0].version
    state = SleepState(reason=SleepReason.IDLE)
    await cluster.scale("tiny", 0, seen, sleep_state=state)
    [workload] = cluster.workloads()
    assert (workload.phase, workload.record.sleep_state) == (Phase.ASLEEP, state)
    asked = kubernetes.asked("PATCH", "/llm-tiny")[-1]
    assert asked.query == {"fieldManager": "llm-bot"}
    with pytest.raises(Changed) as changed:
        await cluster.scale("tiny", 1, seen)
    assert (changed.value.text.key, changed.value.text.params) == ("error.changed", {"name": "tiny"})
    await cluster.scale("tiny", 1)
    assert cluster.workloads()[0].replicas == 1


async def test_what_somebody_wrote_first_is_seen_with_the_refusal(
    kubernetes: FakeKubernetes, cluster: KubernetesCluster
) -> None:
    await cluster.create(spec(), RECORD)
    seen = cluster.workloads()[0]
    await kubernetes.end_watches()  # a while, in which the mirror hears nothing
    theirs = kubernetes.object(DEPLOYMENT)
    theirs["metadata"]["annotations"]["llm-bot/announced-news"] = "theirs"
    await kubernetes.put(DEPLOYMENTS, theirs)
    with pytest.raises(Changed):
        await cluster.change(spec(), seen.record, awake=False, version=seen.version)
    [workload] = cluster.workloads()
    assert (workload.replicas, workload.record.announced_news) == (1, "theirs")


async def test_what_was_removed_meanwhile_is_not_made_anew(
    kubernetes: FakeKubernetes, cluster: KubernetesCluster
) -> None:
    await cluster.create(spec(), RECORD)
    await kubernetes.end_watches()
    await kubernetes.delete(DEPLOYMENT)
    with pytest.raises(UserError) as gone:
        await cluster.change(spec(), RECORD, awake=True)
    assert gone.value.text.key == "workload.gone"
    assert not kubernetes.holds(DEPLOYMENT)


async def test_replicas_that_somebody_else_set_are_not_ours_until_we_set_them_again(
    kubernetes: FakeKubernetes, cluster: KubernetesCluster
) -> None:
    await cluster.create(spec(), RECORD)
    theirs = kubernetes.object(DEPLOYMENT)
    theirs["metadata"]["managedFields"][0]["manager"] = "kubectl"
    await kubernetes.put(DEPLOYMENT.rpartition("/")[0], theirs)
    await eventually(lambda: cluster.workloads()[0].managed_by == "kubectl")
    await cluster.scale("tiny", 1)
    assert cluster.workloads()[0].managed_by == ""


async def test_what_is_remembered_is_read_back_and_restarts_no_pod(
    kubernetes: FakeKubernetes, cluster: KubernetesCluster
) -> None:
    await cluster.create(spec(), RECORD)
    template = kubernetes.object(DEPLOYMENT)["spec"]["template"]
    window = timedelta(hours=2)
    await cluster.update_record("tiny", warned_at=BEGUN, warning_message_id="m7", idle_window=window)
    assert cluster.workloads()[0].record == RECORD.changed(
        warned_at=BEGUN, warning_message_id="m7", idle_window=window
    )
    await cluster.update_record("tiny", warned_at=None, warning_message_id="")
    assert cluster.workloads()[0].record == RECORD.changed(idle_window=window)
    assert kubernetes.object(DEPLOYMENT)["spec"]["template"] == template


async def test_what_an_older_version_wrote_is_written_anew_with_the_first_change(
    kubernetes: FakeKubernetes, cluster: KubernetesCluster
) -> None:
    await cluster.create(spec(), RECORD)
    older = kubernetes.object(DEPLOYMENT)
    older["metadata"]["annotations"] = {
        "llm-bot/spec": older["metadata"]["annotations"]["llm-bot/spec"],
        "llm-bot/owner": "ada",
        "llm-bot/owner-name": "Ada",
        "llm-bot/role": "1",
        "llm-bot/started": "2030-01-01T12:00:00Z",
        "llm-bot/slept": "told",
    }
    await kubernetes.put(DEPLOYMENTS, older)
    await eventually(lambda: cluster.workloads()[0].record.sleep_state)
    await cluster.update_record("tiny", warned_at=BEGUN)
    annotations = kubernetes.object(DEPLOYMENT)["metadata"]["annotations"]
    assert annotations["llm-bot/format"] == "2" and "llm-bot/started" not in annotations
    assert annotations["llm-bot/warned-at"] == annotations["llm-bot/start-requested-at"]

    await kubernetes.put(DEPLOYMENTS, older)  # and it is the same when all of it is changed
    await eventually(lambda: cluster.workloads()[0].record.warned_at is None)
    await cluster.change(spec(), RECORD, awake=False)
    annotations = kubernetes.object(DEPLOYMENT)["metadata"]["annotations"]
    assert annotations["llm-bot/format"] == "2" and "llm-bot/started" not in annotations
    assert cluster.workloads()[0].record == RECORD


async def test_what_a_newer_version_wrote_is_left_alone(
    kubernetes: FakeKubernetes, cluster: KubernetesCluster
) -> None:
    await cluster.create(spec(), RECORD)
    newer = kubernetes.object(DEPLOYMENT)
    newer["metadata"]["annotations"] = {"llm-bot/format": "3", "llm-bot/spec": "[]"}
    await kubernetes.put(DEPLOYMENTS, newer)
    await eventually(lambda: cluster.written_by_newer() == ["llm-tiny"])
    assert cluster.workloads() == [] and cluster.find("tiny") is None
    kubernetes.requests.clear()
    changes: tuple[Callable[[], Awaitable[None]], ...] = (
        lambda: cluster.scale("tiny", 0),
        lambda: cluster.update_record("tiny", urgent=True),
        lambda: cluster.change(spec(), RECORD, awake=False),
        lambda: cluster.remove("tiny"),
    )
    for change in changes:
        with pytest.raises(UserError) as told:
            await change()
        assert (told.value.text.key, told.value.text.params) == ("workload.newer", {"name": "llm-tiny"})
    assert [request.method for request in kubernetes.requests if request.method != "WATCH"] == []
    await kubernetes.delete(DEPLOYMENT)
    await eventually(lambda: cluster.written_by_newer() == [])


async def test_what_is_removed_is_gone_at_once_and_the_models_stay(
    kubernetes: FakeKubernetes, cluster: KubernetesCluster
) -> None:
    await cluster.create(spec(), RECORD)
    await cluster.remove("tiny")
    assert cluster.workloads() == [] and not kubernetes.holds(DEPLOYMENT)
    [asked] = kubernetes.asked("DELETE", "/llm-tiny")
    assert asked.body and asked.body["propagationPolicy"] == "Background"
    assert kubernetes.holds(f"{CORE}/persistentvolumeclaims/llm-models")
    changes: tuple[Callable[[], Awaitable[None]], ...] = (
        lambda: cluster.remove("tiny"),
        lambda: cluster.scale("tiny", 0),
        lambda: cluster.change(spec(), RECORD, awake=True),
        lambda: cluster.update_record("tiny", card_message_id="m"),
    )
    for change in changes:
        with pytest.raises(UserError) as told:
            await change()
        assert (told.value.text.key, told.value.text.params) == ("workload.gone", {"name": "tiny"})


async def test_each_deployment_has_a_key_of_its_own_and_no_models_secret_is_read(
    kubernetes: FakeKubernetes, cluster: KubernetesCluster
) -> None:
    await cluster.create(spec(), RECORD)
    first, secret = await cluster.endpoint("tiny"), secret_name(kubernetes)
    assert (first.url, first.model) == ("http://llm-tiny.demo.svc:8000", "tiny")
    assert len(first.api_key) > 40 and first.api_key == held_key(kubernetes)
    assert f"get secret {secret} " in cluster.key_command("tiny")
    await cluster.remove("tiny")
    await kubernetes.delete(f"{CORE}/secrets/{secret}")
    await cluster.create(spec(), RECORD)
    second = await cluster.endpoint("tiny")
    assert second.api_key == held_key(kubernetes) != first.api_key
    assert {request.path for request in kubernetes.requests if is_read_of_secrets(request)} == {BOT_KEY}


async def test_what_signs_sessions_and_the_models_keys_differ(
    kubernetes: FakeKubernetes, cluster: KubernetesCluster
) -> None:
    await cluster.create(spec(), RECORD)
    await cluster.apply_web_ui(["tiny"], "ada")
    held = kubernetes.object(f"{CORE}/secrets/llm-webui")["data"]
    shown = {name: base64.b64decode(value).decode() for name, value in held.items()}
    assert shown["openai-keys"] == held_key(kubernetes) != shown["secret-key"]
    bots = base64.b64decode(kubernetes.object(BOT_KEY)["data"]["key"]).decode()
    assert len({bots, *shown.values()}) == 3


async def test_the_log_is_that_of_the_newest_pod_without_secrets(
    kubernetes: FakeKubernetes, cluster: KubernetesCluster
) -> None:
    await cluster.create(spec(), RECORD)
    assert await cluster.logs("tiny", 5) == ""
    running = container({"running": {}})
    await kubernetes.put(f"{CORE}/pods", pod(name="new", minute=2, containerStatuses=running))
    await kubernetes.put(f"{CORE}/pods", pod(name="old", minute=1, containerStatuses=running))
    await eventually(lambda: cluster.workloads()[0].phase is Phase.LOADING)
    assert await cluster.logs("tiny", 5) == ""  # it has not started yet
    kubernetes.logs |= {"new": f"one\ntwo hf_{'a' * 34}\nthree", "old": "of the old pod"}
    told = (await cluster.logs("tiny", 2)).splitlines()
    assert told[-1] == "three" and len(told) == 2 and "hf_aaaa" not in told[0]


async def test_of_a_container_that_waits_to_be_started_again_the_run_before_is_shown(
    kubernetes: FakeKubernetes, cluster: KubernetesCluster
) -> None:
    await cluster.create(spec(), RECORD)
    kubernetes.logs |= {("llm-tiny-1", "previous"): "ValueError: before", "llm-tiny-1": "now"}
    looping = container({"waiting": {"reason": "CrashLoopBackOff"}}, {"terminated": {"exitCode": 1}}, 2)
    looping.insert(0, {"name": "istio-proxy", "state": {"running": {}}, "restartCount": 0})
    await kubernetes.put(f"{CORE}/pods", pod(containerStatuses=looping))
    await eventually(lambda: cluster.workloads()[0].phase is Phase.FAILED)
    assert await cluster.logs("tiny", 5) == "ValueError: before\n"


async def test_of_a_log_of_endless_lines_the_end_is_read_and_not_all(
    kubernetes: FakeKubernetes, cluster: KubernetesCluster
) -> None:
    await cluster.create(spec(), RECORD)
    await kubernetes.put(f"{CORE}/pods", pod(containerStatuses=container({"running": {}})))
    await eventually(lambda: cluster.workloads()[0].phase is Phase.LOADING)
    rubbish = "x" * (LONGEST // 20)
    kubernetes.logs["llm-tiny-1"] = "\n".join([rubbish] * 100 + ["ValueError: at the end"])
    log = await cluster.logs("tiny", 1000)
    assert log.endswith("ValueError: at the end\n") and len(log) < LONGEST
    kubernetes.logs["llm-tiny-1"] = rubbish * 30
    assert len(await cluster.logs("tiny", 1000)) == LONGEST


async def test_the_log_of_a_run_is_that_of_the_pod_and_the_container_it_ran_in(
    kubernetes: FakeKubernetes, cluster: KubernetesCluster
) -> None:
    await cluster.create(spec(), RECORD)
    await kubernetes.put(f"{CORE}/pods", pod(containerStatuses=container({"running": {}}, restarts=2)))
    kubernetes.logs |= {("llm-tiny-1", "previous"): "ValueError: before", "llm-tiny-1": "now"}
    await eventually(lambda: cluster.workloads()[0].phase is Phase.LOADING)

    async def log(run: str) -> str:
        return (await cluster.log_of_run("tiny", run, 9)).strip()

    uid = "uid-llm-tiny-1"
    logs = [await log(run) for run in (f"{uid}/2", f"{uid}/1", f"{uid}/0", "uid-gone/1")]
    assert logs == ["now", "ValueError: before", "", ""]


async def test_state_that_was_saved_is_loaded(kubernetes: FakeKubernetes, cluster: KubernetesCluster) -> None:
    assert await cluster.load_state() == ""
    await cluster.save_state("first")
    await cluster.save_state("second")
    assert await cluster.load_state() == "second"


async def test_open_webui_is_connected_and_removed_and_keeps_what_signs_sessions(
    kubernetes: FakeKubernetes, cluster: KubernetesCluster
) -> None:
    await cluster.create(spec(), RECORD)
    assert cluster.web_ui() is None
    await cluster.apply_web_ui(["tiny"], "ada")
    shown = cluster.web_ui()
    assert shown and (shown.ready, shown.connected, shown.owner) == (False, ("tiny",), "ada")
    signs = kubernetes.object(f"{CORE}/secrets/llm-webui")["data"]["secret-key"]
    await cluster.apply_web_ui([], "ada")
    assert kubernetes.object(f"{CORE}/secrets/llm-webui")["data"]["secret-key"] == signs
    await cluster.remove_web_ui()
    await cluster.remove_web_ui()  # it is gone already
    assert cluster.web_ui() is None
    assert kubernetes.holds(f"{CORE}/persistentvolumeclaims/llm-webui")
    assert [w.name for w in cluster.workloads()] == ["tiny"]


async def test_a_right_that_is_missing_is_named(
    kubernetes: FakeKubernetes, cluster: KubernetesCluster
) -> None:
    kubernetes.forbid = {("create", "deployments")}
    with pytest.raises(UserError) as refused:
        await cluster.create(spec(), RECORD)
    assert refused.value.text.key == "error.forbidden"
    assert refused.value.text.params == {"verb": "create", "resource": "deployments", "namespace": "demo"}
    assert kubernetes.names(f"{CORE}/secrets") == ["llm-bot-key"]


async def test_reading_goes_on_while_the_api_server_is_away(
    kubernetes: FakeKubernetes, cluster: KubernetesCluster
) -> None:
    await cluster.create(spec(), RECORD)
    await kubernetes.stop()
    assert [w.name for w in cluster.workloads()] == ["tiny"]
    with pytest.raises(UserError) as away:
        await cluster.scale("tiny", 0)
    assert away.value.text.key == "error.api_away"


async def test_a_kubeconfig_that_leads_nowhere_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError) as none:
        async with KubernetesCluster(str(tmp_path / "none"), SETTINGS, "", Vllm()):
            pass
    assert none.value.text.key == "doctor.cluster_away"
