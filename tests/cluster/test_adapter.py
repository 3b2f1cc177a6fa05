"""The Cluster port over the wire: what is asked for, and what is made of the answers."""

import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
import pytest_asyncio

from bot.cluster.adapter import KubernetesCluster
from bot.core.chat.errors import Changed, NameTaken, UserError
from bot.core.deployment.workload import Phase
from bot.engines.vllm.engine import Vllm
from tests.cluster.objects import BEGUN, RECORD, SETTINGS, container, pod, spec
from tests.conftest import eventually

CORE = "/api/v1/namespaces/demo"
DEPLOYMENT = "/apis/apps/v1/namespaces/demo/deployments/llm-tiny"


@pytest_asyncio.fixture
async def cluster(kubernetes, tmp_path) -> AsyncIterator[KubernetesCluster]:
    settings = replace(SETTINGS, hf_token="hf_secret")
    template = "http://{service}.{namespace}.svc:8000"
    async with KubernetesCluster(kubernetes.kubeconfig(tmp_path), settings, template, Vllm()) as cluster:
        yield cluster


async def test_what_is_created_is_seen_at_once_and_belongs_to_the_deployment(kubernetes, cluster):
    await cluster.create(spec(), RECORD)
    [workload] = cluster.workloads()
    assert (workload.spec, workload.record, workload.phase) == (spec(), RECORD, Phase.SCHEDULING)
    uid = kubernetes.object(DEPLOYMENT)["metadata"]["uid"]
    for path in ("secrets/llm-tiny", "services/llm-tiny"):
        [owner] = kubernetes.object(f"{CORE}/{path}")["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"]) == ("Deployment", uid)
    assert "ownerReferences" not in kubernetes.object(f"{CORE}/persistentvolumeclaims/llm-models")["metadata"]
    token = kubernetes.object(f"{CORE}/secrets/llm-hf-token")["data"]["token"]
    assert base64.b64decode(token) == b"hf_secret"


async def test_a_name_is_given_once_and_the_loser_changes_nothing(kubernetes, cluster):
    await cluster.create(spec(), RECORD)
    key = kubernetes.object(f"{CORE}/secrets/llm-tiny")["data"]
    with pytest.raises(NameTaken) as taken:
        await cluster.create(spec(max_model_len=512), RECORD.model_copy(update={"owner": "eve"}))
    assert (taken.value.text.key, taken.value.text.params) == ("deploy.taken_now", {"name": "tiny"})
    assert cluster.workloads()[0].record.owner == "ada"
    assert kubernetes.object(f"{CORE}/secrets/llm-tiny")["data"] == key


async def test_what_a_crash_left_out_is_made_and_a_key_that_is_there_is_kept(kubernetes, cluster):
    await cluster.create(spec(), RECORD)
    before = kubernetes.object(f"{CORE}/secrets/llm-tiny")["data"]
    await kubernetes.delete(f"{CORE}/services/llm-tiny")
    await cluster.complete(spec())
    assert kubernetes.object(f"{CORE}/services/llm-tiny")
    assert kubernetes.object(f"{CORE}/secrets/llm-tiny")["data"] == before
    await kubernetes.delete(f"{CORE}/secrets/llm-tiny")
    await cluster.complete(spec())
    assert kubernetes.object(f"{CORE}/secrets/llm-tiny")
    seen = len(kubernetes.requests)
    await cluster.complete(spec("never"))
    assert len(kubernetes.requests) == seen


async def test_a_change_is_one_apply_of_arguments_replicas_and_record(kubernetes, cluster):
    await cluster.create(spec(), RECORD)
    kubernetes.requests.clear()
    record = RECORD.model_copy(update={"card_message_id": "m1"})
    await cluster.change(spec(max_model_len=512, replicas=2), record, awake=True)
    [workload] = cluster.workloads()
    assert (workload.replicas, workload.record.card_message_id) == (2, "m1")
    assert "--max-model-len=512" in str(kubernetes.object(DEPLOYMENT)["spec"])
    await cluster.change(spec(replicas=2), record, awake=False)
    assert cluster.workloads()[0].phase is Phase.ASLEEP
    asked = [r for r in kubernetes.requests if r.method not in ("GET", "WATCH")]
    assert [(r.method, r.path, r.query["force"]) for r in asked] == [("PATCH", DEPLOYMENT, "true")] * 2


async def test_replicas_are_set_by_scale_with_the_version_as_precondition(kubernetes, cluster):
    await cluster.create(spec(), RECORD)
    seen = cluster.workloads()[0].version
    await cluster.scale("tiny", 0, seen)
    assert cluster.workloads()[0].phase is Phase.ASLEEP
    [asked] = kubernetes.asked("PATCH", "/llm-tiny/scale")
    assert asked.query == {"fieldManager": "llm-bot"}
    with pytest.raises(Changed) as changed:
        await cluster.scale("tiny", 1, seen)
    assert (changed.value.text.key, changed.value.text.params) == ("error.changed", {"name": "tiny"})
    await cluster.scale("tiny", 1)
    assert cluster.workloads()[0].replicas == 1


async def test_replicas_that_somebody_else_set_are_not_ours_until_we_set_them_again(kubernetes, cluster):
    await cluster.create(spec(), RECORD)
    theirs = kubernetes.object(DEPLOYMENT)
    theirs["metadata"]["managedFields"][0]["manager"] = "kubectl"
    await kubernetes.put(DEPLOYMENT.rpartition("/")[0], theirs)
    await eventually(lambda: cluster.workloads()[0].managed_by == "kubectl")
    await cluster.scale("tiny", 1)
    assert cluster.workloads()[0].managed_by == ""


async def test_what_is_remembered_is_read_back_and_restarts_no_pod(kubernetes, cluster):
    await cluster.create(spec(), RECORD)
    template = kubernetes.object(DEPLOYMENT)["spec"]["template"]
    await cluster.update_record(
        "tiny", warned_at=BEGUN, warning_message_id="m7", idle_window=timedelta(hours=2)
    )
    record = cluster.workloads()[0].record
    assert (record.warned_at, record.warning_message_id, record.idle_window) == (
        BEGUN,
        "m7",
        timedelta(hours=2),
    )
    await cluster.update_record("tiny", warned_at=None, warning_message_id="")
    record = cluster.workloads()[0].record
    assert (record.warned_at, record.warning_message_id, record.idle_window) == (None, "", timedelta(hours=2))
    assert kubernetes.object(DEPLOYMENT)["spec"]["template"] == template


async def test_what_is_removed_is_gone_at_once_and_the_models_stay(kubernetes, cluster):
    await cluster.create(spec(), RECORD)
    await cluster.remove("tiny")
    assert cluster.workloads() == [] and kubernetes.object(DEPLOYMENT) is None
    [asked] = kubernetes.asked("DELETE", "/llm-tiny")
    assert asked.query == {"propagationPolicy": "Background"}
    assert kubernetes.object(f"{CORE}/persistentvolumeclaims/llm-models")
    for change in (
        lambda: cluster.remove("tiny"),
        lambda: cluster.scale("tiny", 0),
        lambda: cluster.update_record("tiny", card="m"),
    ):
        with pytest.raises(UserError) as told:
            await change()
        assert (told.value.text.key, told.value.text.params) == ("workload.gone", {"name": "tiny"})


async def test_the_key_is_read_once_and_anew_for_another_of_that_name(kubernetes, cluster):
    def held() -> str:
        return base64.b64decode(kubernetes.object(f"{CORE}/secrets/llm-tiny")["data"]["api-key"]).decode()

    await cluster.create(spec(), RECORD)
    first = await cluster.endpoint("tiny")
    assert (first.url, first.model, first.api_key) == ("http://llm-tiny.demo.svc:8000", "tiny", held())
    assert await cluster.endpoint("tiny") == first
    assert len(kubernetes.asked("GET", "/secrets/llm-tiny")) == 1
    await cluster.remove("tiny")
    await kubernetes.delete(f"{CORE}/secrets/llm-tiny")
    await cluster.create(spec(), RECORD)
    second = await cluster.endpoint("tiny")
    assert second.api_key == held() != first.api_key
    assert "get secret llm-tiny" in cluster.key_command("tiny")


async def test_the_log_is_that_of_the_newest_pod_without_secrets(kubernetes, cluster):
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


async def test_of_a_container_that_waits_to_be_started_again_the_run_before_is_shown(kubernetes, cluster):
    await cluster.create(spec(), RECORD)
    kubernetes.logs |= {("llm-tiny-1", "previous"): "ValueError: before", "llm-tiny-1": "now"}
    looping = container({"waiting": {"reason": "CrashLoopBackOff"}}, {"terminated": {"exitCode": 1}}, 2)
    looping.insert(0, {"name": "istio-proxy", "state": {"running": {}}, "restartCount": 0})
    await kubernetes.put(f"{CORE}/pods", pod(containerStatuses=looping))
    await eventually(lambda: cluster.workloads()[0].phase is Phase.FAILED)
    assert await cluster.logs("tiny", 5) == "ValueError: before\n"


async def test_state_that_was_saved_is_loaded(kubernetes, cluster):
    assert await cluster.load_state() == ""
    await cluster.save_state("first")
    await cluster.save_state("second")
    assert await cluster.load_state() == "second"


async def test_open_webui_is_connected_and_removed_and_keeps_what_signs_sessions(kubernetes, cluster):
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
    assert kubernetes.object(f"{CORE}/persistentvolumeclaims/llm-webui")
    assert [w.name for w in cluster.workloads()] == ["tiny"]


async def test_a_right_that_is_missing_is_named(kubernetes, cluster):
    kubernetes.forbid = {("create", "deployments")}
    with pytest.raises(UserError) as refused:
        await cluster.create(spec(), RECORD)
    assert refused.value.text.key == "error.forbidden"
    assert refused.value.text.params == {"verb": "create", "resource": "deployments", "namespace": "demo"}
    assert kubernetes.object(f"{CORE}/secrets/llm-tiny") is None


async def test_reading_goes_on_while_the_api_server_is_away(kubernetes, cluster):
    await cluster.create(spec(), RECORD)
    await kubernetes.stop()
    assert [w.name for w in cluster.workloads()] == ["tiny"]
    with pytest.raises(UserError) as away:
        await cluster.scale("tiny", 0)
    assert away.value.text.key == "error.api_away"


async def test_a_kubeconfig_that_leads_nowhere_is_said(tmp_path):
    with pytest.raises(UserError) as none:
        async with KubernetesCluster(str(tmp_path / "none"), SETTINGS, "", Vllm()):
            pass
    assert none.value.text.key == "doctor.cluster_away"
