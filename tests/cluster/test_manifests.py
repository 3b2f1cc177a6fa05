"""The manifests of a workload: what a V100 needs, and what must never be there."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.cluster.annotations import read_record, read_spec
from bot.cluster.manifests import ApiKey, WorkloadSettings, pod_template, workload_objects
from bot.cluster.web_ui import MANIFEST as WEB_UI_MANIFEST
from bot.cluster.web_ui import Connection
from bot.cluster.web_ui import objects as web_ui_objects
from bot.core.chat.errors import UserError
from bot.core.deployment.record import Record
from bot.core.deployment.workload import Spec
from bot.engines.vllm import engine
from bot.engines.vllm.engine import Vllm
from tests.conftest import Say

RECORD = Record(owner="ada", owner_name="Ada", start_requested_at=datetime(2030, 1, 1, tzinfo=UTC))
SETTINGS = WorkloadSettings(
    namespace="w123",
    image="registry/vllm:x",
    node_selector={"gpu": "v100"},
    toleration="gpu",
    storage_class="nfs",
    cache_size="1Ti",
)

KEY = ApiKey("llm-qwen2-5-7b-key", "its key")
CONNECTIONS = {"a": Connection("http://llm-a.w123.svc:8000/v1", ApiKey("llm-a-key", "ka"))}


def spec(**more: Any) -> Spec:
    values: dict[str, Any] = {
        "name": "qwen2.5-7b",
        "model": "qwen2.5-7b",
        "repo": "Qwen/Qwen2.5-7B-Instruct",
        "max_model_len": 8192,
    }
    return Spec(**(values | {"tensor_parallel_size": 2, "weights_gib": 14.2} | more))


def pod(**more: Any) -> dict[str, Any]:
    deployment = workload_objects(spec(**more), RECORD, SETTINGS, Vllm(), KEY)["Deployment"]
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return found


def test_every_object_is_named_marked_and_placed() -> None:
    objects = workload_objects(spec(), RECORD, SETTINGS, Vllm(), KEY)
    assert {kind: thing["metadata"]["name"] for kind, thing in objects.items()} == {
        "PersistentVolumeClaim": "llm-models",
        "Secret": "llm-qwen2-5-7b-key",
        "Service": "llm-qwen2-5-7b",
        "Deployment": "llm-qwen2-5-7b",
    }
    assert {thing["metadata"]["namespace"] for thing in objects.values()} == {"w123"}
    claim = objects["PersistentVolumeClaim"]["spec"]
    assert claim["storageClassName"] == "nfs" and claim["resources"]["requests"]["storage"] == "1Ti"
    metadata = objects["Deployment"]["metadata"]
    assert read_spec(metadata) == spec() and read_record(metadata) == RECORD


def test_the_key_is_only_in_the_secret_that_the_pods_name() -> None:
    objects = workload_objects(spec(), RECORD, SETTINGS, Vllm(), KEY)
    assert objects["Secret"]["stringData"] == {"api-key": "its key"}
    assert KEY.value not in str(objects["Deployment"])
    reference = {"name": KEY.secret, "key": "api-key"}
    env = pod()["containers"][0]["env"]
    assert {"name": "VLLM_API_KEY", "valueFrom": {"secretKeyRef": reference}} in env


def test_placement_probes_and_safety() -> None:
    deployment = workload_objects(spec(), RECORD, SETTINGS, Vllm(), KEY)["Deployment"]["spec"]
    found = deployment["template"]["spec"]
    container = found["containers"][0]
    assert deployment["strategy"] == {"type": "Recreate"} and found["enableServiceLinks"] is False
    assert found["nodeSelector"] == {"gpu": "v100"} and found["tolerations"][0]["key"] == "gpu"
    startup = container["startupProbe"]
    budget = startup["periodSeconds"] * startup["failureThreshold"]
    assert budget == 3600 and deployment["progressDeadlineSeconds"] > budget
    assert startup["timeoutSeconds"] <= startup["periodSeconds"] <= 2
    assert container["readinessProbe"]["httpGet"]["path"] == "/health"
    assert container["image"] == "registry/vllm:x"
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert found["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert found["terminationGracePeriodSeconds"] > 90 and "preStop" in container["lifecycle"]
    assert found["automountServiceAccountToken"] is False


def test_nodes_that_it_ran_on_are_preferred_whatever_the_file_prefers(tmp_path: Path) -> None:
    objects = list(yaml.safe_load_all(engine.MANIFEST.read_text()))
    theirs = {"weight": 1, "preference": {"matchExpressions": [{"key": "fast", "operator": "Exists"}]}}
    preferred = {"preferredDuringSchedulingIgnoredDuringExecution": [theirs]}
    in_file = next(thing for thing in objects if thing["kind"] == "Deployment")["spec"]["template"]["spec"]
    in_file["affinity"] = {"nodeAffinity": preferred}
    file = tmp_path / "vllm.yaml"
    file.write_text(yaml.safe_dump_all(objects))
    record = RECORD.changed(last_nodes=("icc-gpu-1",))
    found = workload_objects(spec(), record, SETTINGS, Vllm(file), KEY)["Deployment"]["spec"]["template"][
        "spec"
    ]
    by_name = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["icc-gpu-1"]}]}
    assert found["affinity"]["nodeAffinity"] == {
        "preferredDuringSchedulingIgnoredDuringExecution": [theirs, {"weight": 100, "preference": by_name}]
    }
    assert "affinity" not in pod()


@pytest.mark.parametrize("host", ["", "chat.example.org"])
def test_open_webui_gets_addresses_and_keys(host: str) -> None:
    settings = WorkloadSettings(namespace="w123", ingress_host=host)
    connections = CONNECTIONS | {
        "b": Connection("http://llm-b.w123.svc:8000/v1", ApiKey("llm-b-key", "kb")),
    }
    found = web_ui_objects(connections, "ada", settings, "secret")
    assert ("Ingress" in found) == bool(host)
    if host:
        assert found["Ingress"]["spec"]["tls"][0]["hosts"] == [host]
    assert found["Secret"]["stringData"] == {"secret-key": "secret", "openai-keys": "ka;kb"}
    env = found["Deployment"]["spec"]["template"]["spec"]["containers"][0]["env"]
    by_name = {variable["name"]: variable.get("value") for variable in env}
    assert by_name["OPENAI_API_BASE_URLS"] == "http://llm-a.w123.svc:8000/v1;http://llm-b.w123.svc:8000/v1"
    assert by_name["ENABLE_PERSISTENT_CONFIG"] == "False" and by_name["BYPASS_MODEL_ACCESS_CONTROL"] == "True"
    assert "ka" not in str(found["Deployment"])


SIDECAR = {"name": "istio-proxy", "image": "proxy:1", "args": ["x"], "env": [{"name": "MODE", "value": "x"}]}
TOLERATION = {"key": "spot", "operator": "Exists"}
VARIABLE = {"name": "A_FIRST_ONE", "value": "x"}


def with_more_in_front(file: Path, folder: Path) -> Path:
    """The same manifest, in which somebody has put things of their own before ours."""
    objects = list(yaml.safe_load_all(file.read_text()))
    pod = next(thing for thing in objects if thing["kind"] == "Deployment")["spec"]["template"]["spec"]
    pod["containers"][0]["env"].insert(0, VARIABLE)
    pod["containers"].insert(0, SIDECAR)
    pod["initContainers"] = [SIDECAR | {"name": "istio-init"}]
    pod["volumes"].insert(0, {"name": "first", "emptyDir": {}})
    pod["tolerations"] = [TOLERATION, *pod.get("tolerations", [])]
    changed = folder / "engines" / file.name
    changed.parent.mkdir()
    changed.write_text(yaml.safe_dump_all(objects))
    return changed


def without(file: Path, folder: Path, name: str) -> Path:
    """The same manifest, in which something is called otherwise."""
    changed = folder / file.parent.name / file.name
    changed.parent.mkdir()
    changed.write_text(file.read_text().replace(f"name: {name}", "name: renamed"))
    return changed


@pytest.mark.parametrize("tp", [1, 2])
def test_what_somebody_puts_before_ours_in_the_file_of_an_engine_stays_and_changes_nothing(
    tmp_path: Path, tp: int
) -> None:
    settings = WorkloadSettings(toleration="gpu", api_key="k")
    usual, engine_with_more = Vllm(), Vllm(with_more_in_front(engine.MANIFEST, tmp_path))
    asked = spec(tensor_parallel_size=tp)
    expected = workload_objects(asked, RECORD, settings, usual, KEY)
    found = workload_objects(asked, RECORD, settings, engine_with_more, KEY)
    pod = found["Deployment"]["spec"]["template"]["spec"]
    assert pod["containers"].pop(0) == SIDECAR and pod.pop("initContainers")
    assert pod["tolerations"].pop(0) == TOLERATION
    assert pod["volumes"].pop(0)["name"] == "first"
    assert pod["containers"][0]["env"].pop(0) == VARIABLE
    assert found == expected


def test_what_somebody_puts_before_ours_in_the_file_of_the_web_ui_stays_and_changes_nothing(
    tmp_path: Path,
) -> None:
    settings = WorkloadSettings(ingress_host="chat.example.org")
    file = with_more_in_front(WEB_UI_MANIFEST, tmp_path)
    expected = web_ui_objects(CONNECTIONS, "ada", settings, "secret")
    found = web_ui_objects(CONNECTIONS, "ada", settings, "secret", file)
    pod = found["Deployment"]["spec"]["template"]["spec"]
    assert pod["containers"].pop(0) == SIDECAR and pod["containers"][0]["env"].pop(0) == VARIABLE
    assert pod.pop("initContainers") and pod["volumes"].pop(0) and pod.pop("tolerations")
    assert found == expected


def test_a_file_that_lacks_what_the_bot_lays_over_is_named(tmp_path: Path, say: Say) -> None:
    with pytest.raises(UserError) as missing:
        workload_objects(spec(), RECORD, SETTINGS, Vllm(without(engine.MANIFEST, tmp_path, "vllm")), KEY)
    assert say(missing.value.text).startswith("manifests/engines/vllm.yaml has no container named vllm.")
    file = without(WEB_UI_MANIFEST, tmp_path, "OPENAI_API_BASE_URLS")
    with pytest.raises(UserError) as missing:
        web_ui_objects(CONNECTIONS, "ada", SETTINGS, "secret", file)
    said = "manifests/web-ui/open-webui.yaml has no variable named OPENAI_API_BASE_URLS."
    assert say(missing.value.text).startswith(said)


def test_a_pod_can_be_looked_at_before_anything_is_made() -> None:
    template = pod_template(spec(), SETTINGS, Vllm())
    made = workload_objects(spec(), RECORD, SETTINGS, Vllm(), KEY)["Deployment"]["spec"]["template"]
    for container in made["spec"]["containers"]:
        for variable in container["env"]:
            if variable["name"] == "VLLM_API_KEY":
                variable["valueFrom"]["secretKeyRef"]["name"] = "llm-qwen2-5-7b"
    assert template == made
