"""Causes in the words of vLLM, torch, NCCL and the hub; and what alarms nobody."""

import time
import tracemalloc
from pathlib import Path

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
    "process_limit": "RuntimeError: can't start new thread",
    "other_processor": "exec /usr/bin/vllm: exec format error",
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
    "gpu_hardware": "RuntimeError: CUDA error: uncorrectable ECC error encountered",
    "device_visibility": "ValueError: invalid literal for int() with base 10: 'MIG-1111-2222'",
    "file_permission": "PermissionError: [Errno 13] Permission denied: '/.cache'",
    "weights_mismatch": "KeyError: 'layers.0.mlp.experts.w13_bias'",
    "image_broken": "ImportError: /usr/lib/vllm/_C.abi3.so: undefined symbol: _ZN3c1013MessageLoggerC1EPKciib",
    "container_oomkilled": "Out of memory: Killed process 29 (VLLM::EngineCor)",
    "volume_broken": "OSError: [Errno 116] Stale file handle",
    "host_memory": "RuntimeError: [enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't "
    "allocate memory: you tried to allocate 89128960 bytes.",
    "illegal_instruction": "Fatal Python error: Illegal instruction",
}
REPORTED = {
    "pytorch/ci-infra 490": (
        "x:202016:202235 [0] misc/shmutils.cc:88 NCCL WARN Error: failed to extend /dev/shm/nccl-WU88OE to "
        "9637892 bytes, error: No space left on device (28)",
        "nccl_or_shm",
    ),
    "NVIDIA/nccl 525": (
        "[3] include/shm.h:28 NCCL WARN Call to posix_fallocate failed : No space left on device",
        "nccl_or_shm",
    ),
    "llm-d 352": (
        "RuntimeError: NCCL error: unhandled system error (run with NCCL_DEBUG=INFO for details)",
        "nccl_or_shm",
    ),
    "vllm 859": (
        "*** SIGBUS received at time=1692931519 on cpu 133 ***\nFatal Python error: Bus error",
        "nccl_or_shm",
    ),
    "chroma 506": ("Illegal instruction (core dumped)", "illegal_instruction"),
    "vllm 8885": ("RuntimeError: Failed to infer device type", "driver_or_cuda_mismatch"),
    "HAMi 1520": ("pynvml.NVMLError_Unknown: Unknown Error", "device_visibility"),
}
"""Lines of logs that people reported in public: by the issue, the line and its cause."""
LOGS = Path(__file__).parent / "logs"
WRONG_SIZE = "RuntimeError: The size of tensor a (128) must match the size of tensor b (64)"
REAL = {
    "bad_dtype": ("bad_argument", "vllm serve: error: argument --dtype: invalid choice: 'float8'"),
    "broken_config": ("unknown", "OSError: It looks like the config file at"),
    "context_too_long": ("bad_argument", "Value error, User-specified max_model_len (99999)"),
    "engine_dies_at_a_question": ("unknown", "RuntimeError: Unsupported CPU attention configuration"),
    "no_network": ("network_or_hub", "huggingface_hub.errors.LocalEntryNotFoundError: An error happened"),
    "no_permission": ("file_permission", "PermissionError: [Errno 13] Permission denied"),
    "no_such_architecture": ("unsupported_architecture", "Value error, Model architectures ['Quux"),
    "no_such_model": ("model_not_found", "huggingface_hub.errors.HFValidationError: Repo id must be"),
    "no_such_tool_parser": ("bad_argument", "KeyError: 'invalid tool call parser: nosuch"),
    "no_tokenizer": ("tokenizer_error", "ValueError: Couldn't instantiate the backend tokenizer"),
    "port_taken": ("port_in_use", "OSError: [Errno 98] Address already in use"),
    "shm_too_small": ("nccl_or_shm", "RuntimeError: Insufficient space in /dev/shm for shared-memory"),
    "stopped_while_it_serves": ("healthy", ""),
    "tp_not_divisible": ("tp_not_divisible", "Value error, Total number of attention heads (4)"),
    "truncated_weights": ("network_or_hub", "safetensors._safetensors_rust.SafetensorError: Error while"),
    "worker_killed_at_start": ("unknown", "EngineCore failed to start."),
    "worker_killed_while_it_serves": ("unknown", "Worker proc VllmWorker-0 died unexpectedly"),
    "wrong_hidden_size": ("unknown", WRONG_SIZE),
    "wrong_hidden_size_coloured": ("unknown", WRONG_SIZE),
    "wrong_intermediate_size": ("weights_mismatch", "RuntimeError: start (0) + length (256) exceeds"),
}
"""Logs of a real vLLM 0.32 (on the CPU) whose starts were made to fail, shortened by frames of tracebacks and
lines of information, with paths of an image: of each the cause, and how its evidence begins. `*_coloured` is
that of a terminal."""
PREFIXES = (
    "",
    "2026-11-27T10:32:12.123456789Z ",
    "2026-11-27T10:32:12.123456789Z stderr F ",
    "[pod/llm-tiny-6d8f7c9b5d-x2k4z/vllm] ",
    "llm-tiny-6d8f7c9b5d-x2k4z vllm ",
    "w-models llm-tiny-6d8f7c9b5d-x2k4z vllm 2026-11-27T10:32:12.1Z ",
    "w-models/llm-tiny-6d8f7c9b5d-x2k4z[vllm]: ",
    "Nov 27 10:32:12 gpu-node-1 vllm[4711]: ",
    "2026-11-27T10:32:12+0100 gpu-node-1 vllm[4711]: ",
    "vllm-1  | ",
    "(RayWorkerWrapper pid=4711, ip=10.0.0.7) ",
    "\x1b[36m(RayWorkerWrapper pid=4711)\x1b[0m [rank1]: ",
)
"""What runtimes and viewers of logs put before a line."""


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
    found = diagnose([f"{log}(APIServer pid=1) {WRAPPED}\n"])
    assert (found.cause, found.line, found.failed) == (cause, 2, True)
    assert found.evidence == TEXTS[cause]


@pytest.mark.parametrize("issue", REPORTED)
def test_what_people_reported_is_called_what_it_is(issue: str) -> None:
    line, cause = REPORTED[issue]
    assert (
        diagnose([f"INFO 03-18 06:41:40 [x.py:1] starting\n{line}\n(APIServer pid=1) {WRAPPED}\n"]).cause
        == cause
    )


def test_every_cause_has_an_example() -> None:
    assert {sign.cause for sign in (*SIGNS, *LAST_RESORT)} == set(TEXTS)


def test_warnings_alone_are_healthy_and_so_is_a_server_that_refuses_a_request() -> None:
    assert diagnose([HEALTHY]).cause == "healthy"


def test_a_wrapper_without_its_cause_is_unknown_and_so_is_nothing() -> None:
    assert diagnose([f"{ERROR}{WRAPPED}\n"]).cause == "unknown"
    assert diagnose([]).cause == "unknown" and diagnose(["\n"]).cause == "unknown"


def test_killed_without_an_error_before_is_out_of_memory_and_with_one_the_end_that_vllm_makes() -> None:
    loading = "INFO 11-27 02:16:26 [x.py:1] Maximum concurrency for 200 tokens per request: 946.88x "
    assert diagnose([f"{loading}Killed\n"]).cause == "container_oomkilled"
    found = diagnose([f"{loading}\n{ERROR}ValueError: nobody knows this one\nKilled\n"])
    assert found[:3] == ("unknown", "ValueError: nobody knows this one", 2)


def test_a_failed_inspection_is_no_unsupported_architecture_and_its_reason_is_found() -> None:
    inspected = "Value error, Model architectures ['X'] failed to be inspected. Please check the logs"
    found = diagnose([f"{ERROR}ValueError: nobody knows this one\n  {inspected}\n"])
    assert found[:2] == ("unknown", "ValueError: nobody knows this one")
    assert diagnose([f"  {inspected}\n"])[:2] == ("unknown", inspected)


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


def read(name: str) -> str:
    return (LOGS / f"{name}.log").read_bytes().decode()


def test_every_log_has_its_expectation() -> None:
    assert {file.stem for file in LOGS.glob("*.log")} == set(REAL)


@pytest.mark.parametrize("prefix", PREFIXES, ids=lambda prefix: prefix.strip() or "none")
@pytest.mark.parametrize("name", REAL)
def test_the_cause_is_found_through_whatever_stands_before_the_lines(name: str, prefix: str) -> None:
    cause, evidence = REAL[name]
    lines = read(name).split("\n")
    found = diagnose(["\n".join(prefix + line for line in lines)])
    assert (found.cause, found.evidence[: len(evidence)]) == (cause, evidence)
    assert not evidence or evidence[:20] in lines[found.line - 1]


@pytest.mark.parametrize("size", [7, 100, 2000])
@pytest.mark.parametrize("name", REAL)
def test_it_does_not_matter_where_a_real_log_is_cut_into_pieces(name: str, size: int) -> None:
    log = read(name)
    assert diagnose(log[at : at + size] for at in range(0, len(log), size)) == diagnose([log])


@pytest.mark.parametrize(
    "line", [f"{ERROR}ValueError: no {{}}\n", f"{ERROR}said {{}}\n", "assert {}\n", "x{} "]
)
def test_a_log_of_any_length_takes_the_memory_of_one_piece(line: str) -> None:
    def peak(pieces: int) -> int:
        tracemalloc.start()
        diagnose("".join(line.format(piece * 2000 + at) for at in range(2000)) for piece in range(pieces))
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(1)  # what Python keeps of the first run
    assert peak(40) < 1.5 * peak(4)
