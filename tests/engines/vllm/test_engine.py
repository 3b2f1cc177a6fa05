"""What vLLM needs in a pod: the flags of a V100, memory, and the script that counts a download."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.core.deployment.workload import Spec
from bot.engines.vllm.engine import MANIFEST, SHARED_MEMORY_GIB, Vllm, arguments, resources


def spec(**more: Any) -> Spec:
    values = {
        "name": "qwen2.5-7b",
        "model": "qwen2.5-7b",
        "repo": "Qwen/Qwen2.5-7B-Instruct",
        "max_model_len": 8192,
    }
    return Spec(**(values | {"tensor_parallel_size": 2, "weights_gib": 14.2} | more))


def pod(**more: Any) -> dict[str, Any]:
    objects = yaml.safe_load_all(MANIFEST.read_text())
    found: dict[str, Any] = next(thing for thing in objects if thing["kind"] == "Deployment")["spec"][
        "template"
    ]["spec"]
    Vllm().lay_over(found, spec(**more))
    return found


def test_flags_that_a_v100_needs() -> None:
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


def test_gptq_is_named_or_vllm_would_choose_kernels_a_v100_lacks() -> None:
    assert "--quantization=gptq" in arguments(["x"], spec(quantization="gptq"))
    assert "--quantization=gptq" in arguments(["x"], spec(quantization="gptq-int8"))
    assert "--enforce-eager" in arguments(["x"], spec(enforce_eager=True))


@pytest.mark.parametrize("tp", [1, 2])
def test_shared_memory_is_there_however_many_gpus_work_together(tp: int) -> None:
    found = pod(tensor_parallel_size=tp)
    [shm] = [volume["emptyDir"] for volume in found["volumes"] if volume["name"] == "shm"]
    assert shm == {"medium": "Memory", "sizeLimit": f"{SHARED_MEMORY_GIB}Gi"}
    assert {"name": "shm", "mountPath": "/dev/shm"} in found["containers"][0]["volumeMounts"]


def test_memory_and_cpu_by_the_size_of_the_model() -> None:
    assert resources(spec(tensor_parallel_size=1, weights_gib=2.05)) == {
        "requests": {"cpu": "250m", "memory": "5Gi", "nvidia.com/gpu": "1"},
        "limits": {"memory": "12Gi", "nvidia.com/gpu": "1"},
    }
    assert resources(spec(tensor_parallel_size=4, weights_gib=37.0)) == {
        "requests": {"cpu": "1000m", "memory": "14Gi", "nvidia.com/gpu": "4"},
        "limits": {"memory": "55Gi", "nvidia.com/gpu": "4"},
    }


def test_the_file_asks_for_what_its_own_model_needs() -> None:
    objects = yaml.safe_load_all(MANIFEST.read_text())
    [deployment] = [thing for thing in objects if thing["kind"] == "Deployment"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == resources(spec(tensor_parallel_size=2, weights_gib=15.0))


def test_the_bytes_of_a_download_are_counted_beside_vllm_which_gets_its_arguments(tmp_path: Path) -> None:
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
    assert re.fullmatch(rf"llm-bot: {size} bytes after \d+ s\n", done.stdout) and done.stderr == ""
    assert (tmp_path / "got").read_text().split() == ["serve", *container["args"]]
