"""The manifests of a workload: what a V100 needs, and what must never be there."""

import os
import subprocess
from datetime import UTC, datetime

import pytest

from bot.cluster.annotations import read_record, read_spec
from bot.cluster.manifests import WorkloadSettings, arguments, resources, workload_objects
from bot.cluster.web_ui import objects as web_ui_objects
from bot.core.deployment.record import Record
from bot.core.deployment.workload import Spec

RECORD = Record(owner="ada", owner_name="Ada", start_requested_at=datetime(2030, 1, 1, tzinfo=UTC))
SETTINGS = WorkloadSettings(
    namespace="w123",
    image="registry/vllm:x",
    node_selector={"gpu": "v100"},
    toleration="gpu",
    storage_class="nfs",
    cache_size="1Ti",
)


def spec(**more) -> Spec:
    values = {
        "name": "qwen2.5-7b",
        "model": "qwen2.5-7b",
        "repo": "Qwen/Qwen2.5-7B-Instruct",
        "max_model_len": 8192,
    }
    return Spec(**(values | {"tensor_parallel_size": 2, "weights_gib": 14.2} | more))


def pod(**more):
    return workload_objects(spec(**more), RECORD, SETTINGS)["Deployment"]["spec"]["template"]["spec"]


def test_every_object_is_named_marked_and_placed():
    objects = workload_objects(spec(), RECORD, SETTINGS)
    assert {kind: thing["metadata"]["name"] for kind, thing in objects.items()} == {
        "PersistentVolumeClaim": "llm-models",
        "Secret": "llm-qwen2-5-7b",
        "Service": "llm-qwen2-5-7b",
        "Deployment": "llm-qwen2-5-7b",
    }
    assert {thing["metadata"]["namespace"] for thing in objects.values()} == {"w123"}
    claim = objects["PersistentVolumeClaim"]["spec"]
    assert claim["storageClassName"] == "nfs" and claim["resources"]["requests"]["storage"] == "1Ti"
    metadata = objects["Deployment"]["metadata"]
    assert read_spec(metadata) == spec() and read_record(metadata) == RECORD


def test_the_key_is_new_each_time_and_only_in_the_secret():
    one, two = (workload_objects(spec(), RECORD, SETTINGS) for _ in range(2))
    key = one["Secret"]["stringData"]["api-key"]
    assert len(key) >= 24 and key != two["Secret"]["stringData"]["api-key"]
    assert key not in str(one["Deployment"])


def test_flags_that_a_v100_needs():
    flags = pod()["containers"][0]["args"]
    assert flags[0] == "Qwen/Qwen2.5-7B-Instruct"
    for flag in (
        "--served-model-name=qwen2.5-7b",
        "--dtype=half",
        "--tensor-parallel-size=2",
        "--distributed-executor-backend=mp",
        "--max-model-len=8192",
        "--no-enable-chunked-prefill",
        "--gpu-memory-utilization=0.9",
        "--max-num-seqs=64",
        "--swap-space=1",
        "--disable-log-requests",
    ):
        assert flag in flags
    assert not any(flag.startswith(("--quantization", "--enforce-eager", "--trust")) for flag in flags)
    assert {"name": "VLLM_USE_V1", "value": "0"} in pod()["containers"][0]["env"]


def test_gptq_is_named_or_vllm_would_choose_kernels_a_v100_lacks():
    assert "--quantization=gptq" in arguments(["x"], spec(quantization="gptq"))
    assert "--quantization=gptq" in arguments(["x"], spec(quantization="gptq-int8"))
    assert "--enforce-eager" in arguments(["x"], spec(enforce_eager=True))


def test_shared_memory_only_when_gpus_work_together_and_it_counts():
    one, two = pod(tensor_parallel_size=1), pod(tensor_parallel_size=2)
    assert [volume["name"] for volume in one["volumes"]] == ["models", "home"]
    shm = next(volume for volume in two["volumes"] if volume["name"] == "shm")
    assert shm["emptyDir"] == {"medium": "Memory", "sizeLimit": "4Gi"}
    assert {"name": "shm", "mountPath": "/dev/shm"} in two["containers"][0]["volumeMounts"]
    limit = {tp: resources(spec(tensor_parallel_size=tp))["limits"]["memory"] for tp in (1, 2)}
    assert limit == {1: "17Gi", 2: "21Gi"}
    assert resources(spec())["requests"]["nvidia.com/gpu"] == "2"


def test_placement_probes_and_safety():
    deployment = workload_objects(spec(), RECORD, SETTINGS)["Deployment"]["spec"]
    found = deployment["template"]["spec"]
    container = found["containers"][0]
    assert deployment["strategy"] == {"type": "Recreate"} and found["enableServiceLinks"] is False
    assert found["nodeSelector"] == {"gpu": "v100"} and found["tolerations"][0]["key"] == "gpu"
    startup = container["startupProbe"]
    budget = startup["periodSeconds"] * startup["failureThreshold"]
    assert budget >= 1800 and deployment["progressDeadlineSeconds"] > budget
    assert container["readinessProbe"]["httpGet"]["path"] == "/health"
    assert container["image"] == "registry/vllm:x"
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert found["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert found["terminationGracePeriodSeconds"] > 90 and "preStop" in container["lifecycle"]
    assert found["automountServiceAccountToken"] is False


@pytest.mark.parametrize("host", ["", "chat.example.org"])
def test_open_webui_gets_addresses_keys_and_keeps_its_session_key(host):
    settings = WorkloadSettings(namespace="w123", ingress_host=host)
    connections = {"a": ("http://llm-a.w123.svc:8000/v1", "ka"), "b": ("http://llm-b.w123.svc:8000/v1", "kb")}
    existing = [{"data": {"secret-key": "c2VjcmV0"}}]
    found = web_ui_objects(connections, "ada", settings, existing)
    assert ("Ingress" in found) == bool(host)
    if host:
        assert found["Ingress"]["spec"]["tls"][0]["hosts"] == [host]
    assert found["Secret"]["stringData"] == {"secret-key": "secret", "openai-keys": "ka;kb"}
    env = found["Deployment"]["spec"]["template"]["spec"]["containers"][0]["env"]
    by_name = {variable["name"]: variable.get("value") for variable in env}
    assert by_name["OPENAI_API_BASE_URLS"] == "http://llm-a.w123.svc:8000/v1;http://llm-b.w123.svc:8000/v1"
    assert by_name["ENABLE_PERSISTENT_CONFIG"] == "False" and by_name["BYPASS_MODEL_ACCESS_CONTROL"] == "True"
    assert "ka" not in str(found["Deployment"])


def test_the_bytes_of_a_download_are_counted_beside_vllm_which_gets_its_arguments(tmp_path):
    cache = tmp_path / "hub" / "models--Qwen--Qwen2.5-7B-Instruct"
    cache.mkdir(parents=True)
    (cache / "blob.incomplete").write_bytes(b"x" * 5000)
    fake = tmp_path / "vllm"
    fake.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/got\nsleep 0.5\n')
    sleep = tmp_path / "sleep"  # the side process looks at once, 30 times
    sleep.write_text("#!/bin/sh\n/bin/sleep 0.01\n")
    for script in (fake, sleep):
        script.chmod(0o755)
    [container] = pod()["containers"]
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HF_HOME": str(tmp_path)}
    command = [*container["command"], *container["args"]]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=20, check=True)
    size = sum(file.stat().st_size for file in (cache, cache / "blob.incomplete"))
    assert done.stdout.splitlines() == [f"llm-bot: {size} bytes after 0 s"] and done.stderr == ""
    assert (tmp_path / "got").read_text().split() == ["serve", *container["args"]]
