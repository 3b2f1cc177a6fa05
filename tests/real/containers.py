"""Images and containers by docker or buildah, whichever works here."""

import json
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.real.missing import without_part


class Image:
    """An image that is in the store of docker or of buildah (`tool`), by its name."""

    def __init__(self, tool: str, name: str) -> None:
        self._tool, self._name = tool, name

    def run(self, *command: str, user: str = "12345", mount: str = "", stdin: str = "") -> str:
        """What a command prints in a fresh container, on the machine's network; as `user`, on a root that it
        cannot write to but for /tmp. AssertionError, with what it said, if it fails."""
        mounted = [f"--volume={mount}"] if mount else []
        with self._ready(user, mounted) as start:
            done = subprocess.run(
                [*start, *command], input=stdin, capture_output=True, text=True, timeout=300
            )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def _ready(self, user: str, mounted: list[str]) -> Iterator[list[str]]:
        if self._tool == "docker":
            alone = ["--read-only", "--tmpfs=/tmp", "--network=host", "--cap-drop=ALL", "--entrypoint="]
            yield ["docker", "run", "--rm", "-i", f"--user={user}", *alone, *mounted, self._name]
            return
        container = _output("buildah", "from", "--pull-never", self._name).strip()
        try:
            yield ["buildah", "run", "--isolation=chroot", f"--user={user}", *mounted, container, "--"]
        finally:
            _output("buildah", "rm", container)

    def labels(self) -> dict[str, str]:
        """Those of the image."""
        if self._tool == "docker":
            labels = json.loads(_output("docker", "image", "inspect", self._name))[0]["Config"]["Labels"]
        else:
            found = json.loads(_output("buildah", "inspect", "--type=image", self._name))
            labels = found["OCIv1"]["config"]["Labels"]
        return dict(labels)

    def pulled(self, folder: Path, since: str) -> int:
        """Bytes to pull, compressed by gzip: the layers from the one on whose command `since` is part of."""
        with tarfile.open(self.save(folder / "image.tar")) as archive:
            manifest = json.load(_member(archive, "manifest.json"))[0]
            history = json.load(_member(archive, manifest["Config"]))["history"]
            made_by = [step.get("created_by", "") for step in history if not step.get("empty_layer")]
            first = next(number for number, command in enumerate(made_by) if since in command)
            return sum(_compressed(_member(archive, layer)) for layer in manifest["Layers"][first:])

    def save(self, file: Path) -> Path:
        """As an archive that containerd imports under its name."""
        if self._tool == "docker":
            _output("docker", "save", "--output", str(file), self._name)
        else:
            _output("buildah", "push", self._name, f"docker-archive:{file}:{self._name}")
        return file


def build(folder: Path, name: str, **arguments: str) -> Image:
    """By the Dockerfile of a folder; skips the test, not in CI, where nothing can build."""
    tool = _builder()
    given = [f"--build-arg={key}={value}" for key, value in arguments.items()]
    more = [] if tool == "docker" else ["--isolation=chroot", "--layers"]
    _output(tool, "build", *more, *given, f"--tag={name}", str(folder))
    return Image(tool, name)


def find(name: str) -> Image:
    """One that somebody has built."""
    return Image(_builder(), name)


def _builder() -> str:
    if shutil.which("docker"):
        asked = subprocess.run(["docker", "info", "--format={{.ServerVersion}}"], capture_output=True)
        if asked.returncode == 0:
            return "docker"
    if shutil.which("buildah"):
        return "buildah"
    return without_part("an image is built by docker or buildah, and neither works here")


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return str(done.stdout)


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    found = archive.extractfile(name)
    assert found
    return found


def _compressed(layer: IO[bytes]) -> int:
    """As a registry keeps it; a layer that is compressed already stays about as big."""
    compressor, size = zlib.compressobj(6), 0
    while block := layer.read(2**20):
        size += len(compressor.compress(block))
    return size + len(compressor.flush())
