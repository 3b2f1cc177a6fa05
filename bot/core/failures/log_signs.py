"""What vLLM, torch, NCCL and the Hugging Face Hub write to a log when a start fails (vLLM 0.6 to 0.33).

A sign is a text that stands in one line of the log. Some signs also have a pattern, for this line and the two
after it, because messages are wrapped. WRAPPERS only say that something failed, not what."""

import re
from typing import NamedTuple


class Sign(NamedTuple):
    """What shows a cause in a log."""

    cause: str
    """The cause: the name of a sentence `[cause]`."""
    text: str
    """The text that must stand in a line, as it is."""
    pattern: re.Pattern[str] | None = None
    """What must also be found in this line and the two after it, at most `diagnosis.WINDOW` characters; None:
    nothing else."""


def _sign(cause: str, text: str, pattern: str = "") -> Sign:
    return Sign(cause, text, re.compile(pattern) if pattern else None)


NUMBER = r"(\d{1,9})"
DIVIDED = r"AssertionError: \d{1,9} is not|weight quantization block|[Rr]educing tensor_parallel_size"
SIGNS = (
    _sign("gpu_arch_unsupported", "no kernel image is available for execution"),
    _sign("gpu_arch_unsupported", "is not compatible with the current PyTorch"),
    _sign("gpu_arch_unsupported", "mma layout conversion is only supported on Ampere"),
    _sign("gpu_arch_unsupported", "PassManager::run failed"),
    _sign("gpu_arch_unsupported", "Failures have been detected while processing an MLIR pass pipeline"),
    _sign("gpu_arch_unsupported", "VLLM_USE_V1=1 is not supported with"),
    _sign("gpu_arch_unsupported", "No operator found for `memory_efficient_attention"),
    _sign("gpu_arch_unsupported", "'_moe_C' object has no attribute"),
    _sign("gpu_arch_unsupported", "'_C' object has no attribute"),
    _sign("gpu_arch_unsupported", "out of resource: shared memory"),
    _sign("gpu_arch_unsupported", "FlashAttention only supports Ampere"),
    _sign("gpu_arch_unsupported", "No valid attention backend found"),
    _sign("gpu_arch_unsupported", "not supported in this architecture"),
    _sign("gpu_arch_unsupported", "Unsupported rounding mode for conversion"),
    _sign("gpu_arch_unsupported", "ptxas fatal", r"Value 'sm_\d{2,3}a?' is not defined"),
    _sign("bf16_unsupported", "Bfloat16 is only supported on GPUs with compute capability"),
    _sign("bf16_unsupported", "does not support float16", r"model type .{1,60} does not support float16"),
    _sign(
        "quantization_unsupported_capability", "The quantization method", r"not supported for the current GPU"
    ),
    _sign("quantization_unsupported_capability", "Quantization scheme is not supported", "current GPU"),
    _sign(
        "quantization_unsupported_capability", "gptq_bitblas", "convertible to gptq_bitblas|quantization=gptq"
    ),
    _sign("quantization_unsupported_capability", "is not supported for quantization method"),
    _sign("quantization_unsupported_capability", "torch._scaled_mm is only supported on CUDA devices"),
    _sign("context_too_long_for_kv_cache", "The model's max seq len", rf"KV cache \({NUMBER}\)"),
    _sign("context_too_long_for_kv_cache", "To serve at least one request with the model"),
    _sign("no_kv_cache_memory", "No available memory for the cache blocks"),
    _sign("gpu_busy_memory", "Free memory on device", "less than desired GPU memory utilization"),
    _sign("gpu_busy_memory", "CUDA-capable devices are busy or unavailable"),
    _sign("cuda_oom", "CUDA out of memory"),
    _sign("cuda_oom", "OutOfMemoryError"),
    _sign("cuda_oom", "CUDA error: out of memory"),
    _sign("cuda_oom", "CUBLAS_STATUS_ALLOC_FAILED"),
    _sign("cuda_oom", "NVML_SUCCESS == r INTERNAL ASSERT FAILED"),
    _sign("tp_not_divisible", "must be divisible by", r"tensor[ _]parallel[ _]size"),
    _sign("tp_not_divisible", "size is not aligned with the quantized weight shape"),
    _sign("tp_not_divisible", "is not divisible by", DIVIDED),
    _sign("tp_exceeds_gpus", "less than max local gpu count"),
    _sign("tp_exceeds_gpus", "is larger than the number of available GPUs"),
    _sign("tp_exceeds_gpus", "cannot be larger than the number of available GPUs"),
    _sign("tp_exceeds_gpus", "in the placement group", r"number of required \w{1,20}s exceeds"),
    _sign("tp_exceeds_gpus", "exceeds the total number of available"),
    _sign("tp_exceeds_gpus", "invalid device ordinal"),
    _sign("tp_exceeds_gpus", "Cannot provide a placement group"),
    _sign("bad_argument", "Prequant BitsAndBytes models with tensor parallelism is not supported"),
    _sign("nccl_or_shm", "Error while creating shared memory segment /dev/shm/nccl-"),
    _sign("nccl_or_shm", "posix_fallocate failed : No space left on device"),
    _sign("nccl_or_shm", "unable to open shared memory object"),
    _sign("nccl_or_shm", "ncclSystemError"),
    _sign("nccl_or_shm", "ncclUnhandledCudaError"),
    _sign("nccl_or_shm", "ncclInternalError"),
    _sign("nccl_or_shm", "ncclInvalidUsage"),
    _sign("nccl_or_shm", "insufficient shared memory (shm)"),
    _sign("nccl_or_shm", "Bus error"),
    _sign("nccl_or_shm", "Watchdog caught collective operation timeout"),
    _sign("nccl_or_shm", "NCCL error", r"unhandled (?:system|cuda) error"),
    _sign("gated_model", "GatedRepoError"),
    _sign("gated_model", "Cannot access gated repo for url"),
    _sign("gated_model", "trying to access a gated repo"),
    _sign("gated_model", "Access to model", "is restricted"),
    _sign("gated_model", "need to be authenticated to access it"),
    _sign("gated_model", "must be authenticated to access it"),
    _sign("gated_model", "awaiting a review from the repo authors"),
    _sign("gated_model", "enable access to public gated repositories"),
    _sign("model_not_found", "Repository Not Found for url"),
    _sign("model_not_found", "RepositoryNotFoundError"),
    _sign("model_not_found", "is not a local folder and is not a valid model identifier"),
    _sign("model_not_found", "Revision Not Found for url"),
    _sign("model_not_found", "RevisionNotFoundError"),
    _sign("model_not_found", "Cannot find any model weights with"),
    _sign("model_not_found", "does not appear to have a file named"),
    _sign("model_not_found", "Entry Not Found for url"),
    _sign("model_not_found", "Repo id must"),
    _sign("model_not_found", "Can't load the configuration of"),
    _sign("network_or_hub", "429 Client Error"),
    _sign("network_or_hub", "HTTP status client error (429"),
    _sign("network_or_hub", "We couldn't connect to 'https://huggingface.co"),
    _sign("network_or_hub", "LocalEntryNotFoundError"),
    _sign("network_or_hub", "OfflineModeIsEnabled"),
    _sign("network_or_hub", "Cannot find the requested files in the disk cache"),
    _sign("network_or_hub", "host='huggingface.co'", "Max retries exceeded"),
    _sign("network_or_hub", "Failed to resolve 'huggingface.co'"),
    _sign("network_or_hub", "Temporary failure in name resolution"),
    _sign("network_or_hub", "CERTIFICATE_VERIFY_FAILED"),
    _sign("network_or_hub", "ProxyError"),
    _sign("network_or_hub", "Server Error: ", r"50[0234] Server Error: .{0,60}(?:huggingface|for url)"),
    _sign("network_or_hub", "ChunkedEncodingError"),
    _sign("network_or_hub", "Consistency check failed: file should be of size"),
    _sign("network_or_hub", "outgoing traffic has been disabled"),
    _sign("network_or_hub", "SafetensorError"),
    _sign("network_or_hub", "HeaderTooLarge"),
    _sign("network_or_hub", "MetadataIncompleteBuffer"),
    _sign("disk_full", "Not enough free disk space to download"),
    _sign("disk_full", "No space left on device", r"^(?!.{0,400}(?:/dev/shm|nccl|posix_fallocate))"),
    _sign("disk_full", "Disk quota exceeded"),
    _sign("unsupported_architecture", "are not supported for now", r"Model architectures?"),
    _sign("unsupported_architecture", "Model architectures", "failed to be inspected"),
    _sign("unsupported_architecture", "has no vLLM implementation"),
    _sign("unsupported_architecture", "is not compatible with vLLM"),
    _sign("transformers_too_old", "but Transformers does not recognize this architecture"),
    _sign("transformers_too_old", "CONFIG_MAPPING[config_dict["),
    _sign("transformers_too_old", "`rope_scaling` must be a dictionary"),
    _sign("transformers_too_old", "cannot import name", r"from 'transformers"),
    _sign("transformers_too_old", "requires transformers version"),
    _sign("trust_remote_code", "trust_remote_code=True", r"(?:pass|set|option|enable)\b.{0,60}trust_remote"),
    _sign("trust_remote_code", "requires you to execute the"),
    _sign("trust_remote_code", "contains custom code which must be executed"),
    _sign("chat_template_missing", "default chat template is no longer allowed"),
    _sign("chat_template_missing", "tokenizer.chat_template is not set"),
    _sign("chat_template_missing", "appears path-like, but doesn't exist", "chat template"),
    _sign("driver_or_cuda_mismatch", "NVIDIA driver on your system is too old"),
    _sign("driver_or_cuda_mismatch", "Failed to infer device type"),
    _sign("driver_or_cuda_mismatch", "No CUDA GPUs are available"),
    _sign("driver_or_cuda_mismatch", "CUDA driver version is insufficient"),
    _sign("driver_or_cuda_mismatch", "unsatisfied condition: cuda>="),
    _sign("driver_or_cuda_mismatch", "PTX was compiled with an unsupported toolchain"),
    _sign("driver_or_cuda_mismatch", "Found no NVIDIA driver on your system"),
    _sign("driver_or_cuda_mismatch", "Unexpected error from cudaGetDeviceCount"),
    _sign("driver_or_cuda_mismatch", "libcuda.so.1: cannot open shared object file"),
    _sign("driver_or_cuda_mismatch", "forward compatibility was attempted on non supported HW"),
    _sign("driver_or_cuda_mismatch", "unsupported display driver / cuda driver combination"),
    _sign("driver_or_cuda_mismatch", "CUDA error: system not yet initialized"),
    _sign("driver_or_cuda_mismatch", "nvidia-container-cli: "),
    _sign("bad_argument", "error: unrecognized arguments"),
    _sign("bad_argument", "ignored explicit argument"),
    _sign("bad_argument", "User-specified max_model_len", "is greater than the derived"),
    _sign("bad_argument", "Too large swap space"),
    _sign("bad_argument", "Please install vllm["),
    _sign("bad_argument", "error: argument "),
    _sign("bad_argument", "the following arguments are required"),
    _sign("bad_argument", "is smaller than max_model_len", "max_num_batched_tokens"),
    _sign("bad_argument", "Unknown quantization method"),
    _sign("bad_argument", "does not match the quantization method specified in"),
    _sign("port_in_use", "address already in use"),
    _sign("port_in_use", "Address already in use"),
    _sign("service_name", "appears to be a URI", "VLLM_PORT"),
    _sign("service_name", "invalid literal for int() with base 10: 'tcp://"),
    _sign("tokenizer_error", "Tokenizer' object has no attribute"),
    _sign("tokenizer_error", "Failed to load the tokenizer"),
    _sign("tokenizer_error", "Can't load tokenizer for"),
    _sign("tokenizer_error", "Couldn't instantiate the backend tokenizer"),
    _sign("tokenizer_error", "Tokenizer class", "does not exist or is not currently imported"),
    _sign("tokenizer_error", "untagged enum ModelWrapper"),
    _sign("tokenizer_error", "requires the protobuf library"),
    _sign("container_oomkilled", "Out of memory: Killed process"),
    _sign("container_oomkilled", "OOMKilled"),
)
LAST_RESORT = (
    _sign("probe_killed", "KeyboardInterrupt: terminated"),
    _sign("probe_killed", 'KeyboardInterrupt("terminated")'),
)
"""Signs that count only if no other is found: they show how a server ended, not why."""
DIED = ("Engine loop is not running", "died unexpectedly", "EngineDeadError")
"""Texts of a server that ran and then crashed."""
SERVING = "Application startup complete"
"""The text of a server that begins to answer."""
WRAPPERS = (
    *DIED,
    "Engine process failed to start",
    "EngineCore failed to start",
    "Engine core initialization failed",
    "WorkerProc initialization failed",
    "Invalid repository ID or local directory specified",
    "Traceback (most recent call last)",
    " ERROR ",
    "ERROR ",
)
"""Texts that say that something failed, but not what."""
TOKENS_THAT_FIT = (
    re.compile(rf"stored in KV cache \({NUMBER}\)"),
    re.compile(rf"estimated maximum model length is {NUMBER}"),
)
"""Patterns for the number of tokens that would fit."""
