"""The image and the pod of the bot, as far as their files show it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from bot import __version__
from tools import image

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
DOCUMENT = yaml.safe_load((ROOT / "manifests" / "bot" / "deployment.yaml").read_text())
POD: dict[str, Any] = DOCUMENT["spec"]["template"]["spec"]


def test_it_is_made_from_the_lock() -> None:
    assert "COPY requirements/run.txt" in DOCKERFILE
    assert [line for line in DOCKERFILE.splitlines() if "pip" in line and "install " in line] == [
        "RUN /installer/bin/pip --python /venv/bin/python install --no-cache-dir --no-compile"
        " --require-hashes -r /run.txt"
    ]


def test_the_version_that_is_installed_is_that_of_the_package() -> None:
    [named] = yaml.safe_load((ROOT / "manifests" / "bot" / "kustomization.yaml").read_text())["images"]
    assert [container["image"] for container in POD["containers"]] == [named["name"]]
    assert named["newTag"] == __version__


def test_a_namespace_that_is_restricted_takes_the_pod() -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & POD.keys()
    for container in POD["containers"]:
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False and own["capabilities"] == {"drop": ["ALL"]}
        assert own["readOnlyRootFilesystem"] is True
    kinds = {kind for volume in POD["volumes"] for kind in volume if kind != "name"}
    assert kinds <= {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "projected", "secret"}


def test_a_chat_that_is_away_ends_no_pod() -> None:
    """/readyz waits for the chats: who asks that may not end the container."""
    [container] = POD["containers"]
    asked = {probe: container[probe]["httpGet"]["path"] for probe in container if probe.endswith("Probe")}
    assert asked == {"startupProbe": "/livez", "readinessProbe": "/readyz", "livenessProbe": "/livez"}
    assert container["startupProbe"]["periodSeconds"] == container["readinessProbe"]["periodSeconds"] == 1


@pytest.fixture
def site_packages(tmp_path: Path) -> Path:
    """One file in each package that is made smaller, and one for each pattern."""
    for package in image.CHART + image.CLIENT:
        (tmp_path / package).mkdir()
        (tmp_path / package / "code.py").touch()
    for pattern in image.UNUSED:
        file = tmp_path / pattern.replace("**", "any").replace("*", "x")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return tmp_path


def test_what_is_not_loaded_is_left_out_of_the_image(site_packages: Path) -> None:
    numpy = site_packages / "numpy"
    loaded, licence, library = numpy / "code.py", numpy / "LICENSE.txt", numpy / "lib.so.3"
    elsewhere = site_packages / "openai.py"
    for file in (licence, library, elsewhere):
        file.touch()
    removed = set(image.unused(site_packages, set(), {loaded}))
    assert library in removed and site_packages / "kubernetes" / "code.py" in removed
    assert not {loaded, licence, elsewhere} & removed


def test_the_languages_that_the_bot_speaks_stay_with_their_regions(site_packages: Path) -> None:
    data = site_packages / "babel" / "locale-data"
    for name in ("root", "de", "de_AT", "fr"):
        (data / f"{name}.dat").touch()
    removed = {
        path.stem for path in image.unused(site_packages, {"root", "de"}, set()) if path.parent == data
    }
    assert removed == {"fr", "x"}


def test_a_list_that_is_out_of_date_ends_the_build(site_packages: Path) -> None:
    (site_packages / "babel" / "locale-data" / "x.dat").unlink()
    with pytest.raises(LookupError, match="locale-data"):
        list(image.unused(site_packages, set(), set()))
