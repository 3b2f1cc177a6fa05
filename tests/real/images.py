"""What a real cluster runs: the bot's image, and one with a real vLLM."""

import subprocess
from pathlib import Path

from bot import __version__
from tests.real import containers
from tests.real.containers import Image
from tests.real.vllm import make_model

ROOT = Path(__file__).parents[2]
BASE = "docker.io/library/python:3.12-slim"
BOT = "docker.io/library/llm-bot:test"
ENGINE = "docker.io/vllm/vllm-openai:v0.8.5.post1"
"""The name that the bot deploys."""
SERVE = """#!/bin/sh
# vllm serve MODEL --served-model-name=NAME --port=PORT …: name, port and key (VLLM_API_KEY) are as asked for;
# the model is a tiny one, and flags that a V100's version knows are left out.
name=model port=8000
for flag in "$@"; do
  case $flag in
    --served-model-name=*) name=${flag#*=} ;;
    --port=*) port=${flag#*=} ;;
  esac
done
export HF_HUB_OFFLINE=1 VLLM_HOST_IP=127.0.0.1
unset VLLM_USE_V1
exec @vllm@ serve /opt/tiny --served-model-name "$name" --dtype float32 --max-model-len 512 \\
  --kv-cache-memory-bytes 64M --enforce-eager --host 0.0.0.0 --port "$port"
"""
DOCKERFILE = f"""FROM {BASE}
RUN ldconfig -p | grep -q libnuma || (apt-get update && apt-get install -y --no-install-recommends libnuma1)
RUN mkdir -p @folders@ && chmod a+rx @parents@
COPY --chmod=755 vllm /usr/local/bin/vllm
COPY tiny /opt/tiny
"""


def build_bot() -> Image:
    """From the project's Dockerfile; always with the same arguments, as buildah takes a layer of labels from
    its cache whatever they are."""
    source = "https://example.org/llm-bot"
    return containers.build(ROOT, BOT, VERSION=__version__, REVISION="abc", SOURCE=source)


def build_engine(vllm: Path, folder: Path) -> Path:
    """An engine's image whose `vllm serve` is the CPU vLLM of this machine, which is mounted into its pods:
    it is too big to copy."""
    context = folder / "engine"
    context.mkdir()
    make_model(vllm, context)
    for file in (context / "tiny", *(context / "tiny").iterdir()):
        file.chmod(0o755)
    folders = mounted(vllm)
    parents = sorted({str(parent) for place in folders for parent in (place, *place.parents)} - {"/"})
    (context / "vllm").write_text(SERVE.replace("@vllm@", str(vllm)))
    dockerfile = DOCKERFILE.replace("@folders@", " ".join(map(str, folders)))
    (context / "Dockerfile").write_text(dockerfile.replace("@parents@", " ".join(parents)))
    return containers.build(context, ENGINE).save(folder / "engine.tar")


def mounted(vllm: Path) -> list[Path]:
    """Folders that an engine's pod sees: vLLM's environment, and the Python that it was made with."""
    environment = vllm.parent.parent
    ask = [str(vllm.parent / "python"), "-c", "import sys; print(sys.base_prefix)"]
    base = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
    return [environment, Path(base.strip())]
