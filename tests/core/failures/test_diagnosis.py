"""Causes in the words of vLLM, torch, NCCL and the hub; and what alarms nobody."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.failures.diagnosis import diagnose
from bot.core.failures.log_signs import LAST_RESORT, SIGNS, Sign

ERROR = "(EngineCore_DP0 pid=192) ERROR 03-18 06:41:51 [core.py:866] "
WRAPPED = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"
TEXTS = {
    "bf16_unsupported": "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least "
    "8.0. Your Tesla V100-SXM2-16GB GPU has compute capability 7.0.",
    "quantization_unsupported_capability": "ValueError: The quantization method awq is not supported for the "
    "current GPU. Minimum capability: 75. Current capability: 70.",
    "gpu_arch_unsupported": "RuntimeError: CUDA error: no kernel image is available for execution on the device",
    "context_too_long_for_kv_cache": "ValueError: The model's max seq len (8192) is larger than the maximum "
    "number of tokens that can be stored in KV cache (5904). Try increasing `gpu_memory_utilization`",
    "no_kv_cache_memory": "ValueError: No available memory for the cache blocks. Try increasing",
    "gpu_busy_memory": "ValueError: Free memory on device (4.04/15.77 GiB) on startup is less than desired GPU "
    "memory utilization (0.9, 14.19 GiB).",
    "cuda_oom": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 896.00 MiB.",
    "tp_not_divisible": "ValueError: Total number of attention heads (14) must be divisible by tensor parallel "
    "size (4).",
    "tp_exceeds_gpus": "Value error, World size (2) is larger than the number of available GPUs (1) in this node",
    "nccl_or_shm": "Error while creating shared memory segment /dev/shm/nccl-x1 (size 9637888), error: No space "
    "left on device",
    "gated_model": "huggingface_hub.errors.GatedRepoError: 401 Client Error.",
    "model_not_found": "OSError: meta/lama is not a local folder and is not a valid model identifier listed on",
    "network_or_hub": "OSError: We couldn't connect to 'https://huggingface.co' to load the files",
    "disk_full": "OSError: [Errno 28] No space left on device",
    "unsupported_architecture": "ValueError: Model architectures ['X'] are not supported for now.",
    "transformers_too_old": "The checkpoint you are trying to load has model type `qwen9` but Transformers does "
    "not recognize this architecture.",
    "trust_remote_code": "Please pass the argument `trust_remote_code=True` to allow custom code to be run.",
    "chat_template_missing": "As of transformers v4.44, default chat template is no longer allowed, so you must",
    "driver_or_cuda_mismatch": "RuntimeError: The NVIDIA driver on your system is too old (found version 11080).",
    "bad_argument": "vllm: error: unrecognized arguments: --swap-spice 1",
    "port_in_use": "OSError: [Errno 98] error while attempting to bind on address: address already in use",
    "tokenizer_error": "OSError: Can't load tokenizer for 'x/y'.",
    "service_name": "ValueError: VLLM_PORT 'tcp://10.0.0.1:8000' appears to be a URI.",
    "probe_killed": "KeyboardInterrupt: terminated",
    "container_oomkilled": "Maximum concurrency for 200 tokens per request: 946.88x Killed",
}
HEALTHY = """\
WARNING 05-05 15:15:24 [arg_utils.py:1854] Compute Capability < 8.0 is not supported by the V1 Engine.
INFO 11-27 02:16:26 model_runner.py:1404] If out-of-memory error occurs during cudagraph capture, consider
(Worker_TP1 pid=3) WARNING 09-23 17:56:21 [x.py:1] CUDA out of memory, trying again with less
INFO 03-23 [api.py:1] args: Namespace(trust_remote_code=True, model='x')
INFO:     Application startup complete.
ERROR 03-23 10:00:00 [serving_chat.py:2] Error in preprocessing prompt inputs
"""


@pytest.mark.parametrize("cause", TEXTS)
def test_each_cause_by_its_own_words_before_any_wrapper(cause: str) -> None:
    log = f"INFO 03-18 06:41:40 [x.py:1] starting\n{ERROR}{TEXTS[cause]}\n"
    log += "" if cause == "container_oomkilled" else f"(APIServer pid=1) {WRAPPED}\n"
    found = diagnose([log])
    assert (found.cause, found.line, found.failed) == (cause, 2, True)
    assert found.evidence.startswith(TEXTS[cause][:200]) or cause == "container_oomkilled"


def test_every_cause_has_an_example() -> None:
    assert {sign.cause for sign in (*SIGNS, *LAST_RESORT)} == set(TEXTS)


def test_warnings_alone_are_healthy_and_so_is_a_server_that_refuses_a_request() -> None:
    assert diagnose([HEALTHY]).cause == "healthy"


def test_a_wrapper_without_its_cause_is_unknown_and_so_is_nothing() -> None:
    assert diagnose([f"{ERROR}{WRAPPED}\n"]).cause == "unknown"
    assert diagnose([]).cause == "unknown" and diagnose(["\n"]).cause == "unknown"


def test_the_earliest_specific_cause_wins() -> None:
    log = f"{ERROR}{TEXTS['no_kv_cache_memory']}\n{ERROR}{TEXTS['cuda_oom']}\nKilled\n"
    assert diagnose([log]).cause == "no_kv_cache_memory"


def test_a_wrapped_line_is_read_as_one() -> None:
    log = f"{ERROR}The quantization method fp8 is not supported for the current\n{ERROR}GPU. Minimum capability\n"
    assert diagnose([log]).cause == "quantization_unsupported_capability"


def test_how_long_a_context_would_fit_is_read() -> None:
    assert diagnose([TEXTS["context_too_long_for_kv_cache"]]).fitting_context == 5904
    v1 = "To serve at least one request with the models's max seq len (8192), (1.0 GiB KV cache is needed, which"
    v1 += "\nis larger than the available KV cache memory (0.5 GiB). the estimated maximum model length is 4080."
    assert diagnose([v1]).fitting_context == 4080


@given(st.sampled_from(list(TEXTS)), st.integers(1, 200), st.integers(0, 30))
def test_it_does_not_matter_where_a_log_is_cut_into_pieces(cause: str, size: int, before: int) -> None:
    log = (
        f"INFO 01-01 00:00:00 [x.py:1] fine\n{'INFO 01-01 [x] y' * 3}\n" * before + f"{ERROR}{TEXTS[cause]}\n"
    )
    pieces = [log[start : start + size] for start in range(0, len(log), size)]
    assert diagnose(pieces) == diagnose([log])


@pytest.mark.parametrize("sign", [*SIGNS, *LAST_RESORT], ids=lambda sign: f"{sign.cause}-{sign.text[:20]}")
def test_no_sign_is_slow_on_text_made_to_be(sign: Sign) -> None:
    for hostile in (f"{sign.text} ", f"{sign.text}{'a' * 500}"):
        log = "INFO 01-01 " + hostile * (2**20 // len(hostile))
        begun = time.process_time()
        diagnose([log])
        assert time.process_time() - begun < 2.0  # a pattern that backtracks takes minutes
