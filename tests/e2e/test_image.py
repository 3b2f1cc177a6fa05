"""The bot's image, built from the Dockerfile; with BOT_IMAGE one that docker or buildah has already."""

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from bot import __version__
from tests.e2e import inside_image
from tests.real import containers, images
from tests.real.containers import Image
from tests.real.control_plane import ControlPlane
from tests.real.world import real_world

OUR_FIRST_LAYER = "useradd"
PULLED, UNPACKED = 90e6, 330e6
"""Bytes at most: to pull, above the base; on the disk, all of it."""
START_CPU = 2.0
"""CPU seconds of a start and an end at most: those of a clock say more about who else uses the machine."""
END_SECONDS = 2.0
USERS = ("10001", "12345:12345", "1000650000:0")
"""The image's own, any other, and one as OpenShift makes them up."""


@pytest.fixture(scope="module")
def image() -> Image:
    if name := os.environ.get("BOT_IMAGE"):
        return containers.find(name)
    return images.build_bot()


def inside(image: Image, what: str, mount: str = "", **settings: str) -> dict[str, Any]:
    """What `inside_image.py` finds there."""
    env = ["env", *(f"{name}={value}" for name, value in settings.items())]
    script = Path(inside_image.__file__).read_text()
    said = image.run(*env, "python", "-", what, mount=mount, stdin=script)
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


def test_it_is_small(image: Image, tmp_path: Path) -> None:
    unpacked = int(image.run("du", "-xsb", "/", user="0").split()[0])
    assert unpacked <= UNPACKED
    assert image.pulled(tmp_path, OUR_FIRST_LAYER) <= PULLED


def test_its_packages_keep_their_licences_and_what_starts_is_compiled(image: Image) -> None:
    found = inside(image, "packages")
    assert found.pop("licences") > 50
    assert found == {"slow": [], "missing": [], "tools": []}


def test_its_labels_say_what_it_is(image: Image) -> None:
    names = ("title", "description", "source", "licenses", "version", "revision")
    labels = image.labels()
    assert all(labels[f"org.opencontainers.image.{name}"] for name in names)
    assert labels["org.opencontainers.image.version"] == __version__


@pytest.mark.parametrize("user", USERS)
def test_it_runs_as_any_user(image: Image, user: str) -> None:
    assert "llama-3-8b" in image.run("python", "-m", "bot", "plan", "llama-3-8b", user=user)
    assert "kind: Deployment" in image.run("python", "-m", "bot", "render", "deploy", "llama-3-8b", user=user)
    shown = image.run(
        *("python", "-m", "bot", "demo", "--speed", "200"), user=user, stdin="deploy qwen2.5-7b\nreport\n"
    )
    assert "qwen2.5-7b is ready" in shown and "GPU-hours used" in shown


def test_it_draws_the_chart_in_every_language(image: Image) -> None:
    sizes = inside(image, "charts")
    assert sizes.keys() == {"de", "en"} and min(sizes.values()) > 5000


async def test_it_starts_and_ends_quickly(image: Image, control_plane: ControlPlane, tmp_path: Path) -> None:
    async with real_world(control_plane, tmp_path) as world:
        kubeconfig = shutil.copy(world.kubeconfig, tmp_path / "kubeconfig")
        Path(kubeconfig).chmod(0o644)  # of another user than that of the container
        found = await asyncio.to_thread(
            inside,
            image,
            "life",
            f"{kubeconfig}:/mnt/kubeconfig:ro",
            KUBECONFIG="/mnt/kubeconfig",
            NAMESPACE=world.namespace,
            HTTP_HOST="127.0.0.1",
            HTTP_PORT="18080",
            DATABASE_URL="sqlite:////tmp/ledger.sqlite",
        )
    assert found["code"] == 0
    assert found["cpu"] <= START_CPU and found["ended"] <= END_SECONDS, found
