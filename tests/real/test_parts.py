"""What `make parts` prints, and when it makes what."""

from pathlib import Path

import pytest

from tests.real import parts
from tests.real.parts import Part, provide
from tests.real.recipes import vllm_cpu
from tests.real.recipes.failure import RecipeFailed


@pytest.fixture
def made() -> list[Path]:
    return []


@pytest.fixture
def part(made: list[Path], monkeypatch: pytest.MonkeyPatch) -> Part:
    monkeypatch.delenv("SOME_PART", raising=False)

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "program").write_text(f"try {len(made)}")

    return Part("SOME_PART", "some-1.0", "program", make)


def test_a_part_is_made_once(part: Part, made: list[Path], tmp_path: Path) -> None:
    assert provide(part, tmp_path) == provide(part, tmp_path) == tmp_path / "some-1.0" / "program"
    assert len(made) == 1


def test_one_that_was_broken_off_is_made_anew(part: Part, made: list[Path], tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise RecipeFailed("no network")

    with pytest.raises(RecipeFailed):
        provide(part._replace(make=fail), tmp_path)
    assert provide(part, tmp_path).read_text() == "try 1"
    assert not (tmp_path / "some-1.0" / "half").exists()


def test_what_a_variable_names_is_taken_and_nothing_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("KUBEBUILDER_ASSETS", "/opt/envtest bin")
    monkeypatch.setenv("VLLM_BIN", "/opt/vllm")
    assert parts.main() == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == ["export KUBEBUILDER_ASSETS='/opt/envtest bin'", "export VLLM_BIN=/opt/vllm"]
    assert not any(tmp_path.iterdir())


def test_without_go_it_says_what_is_needed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    assert parts.main() == 1
    told = capsys.readouterr()
    assert "Go" in told.err and "set KUBEBUILDER_ASSETS" in told.err and told.out == ""


def test_the_version_is_that_of_the_lock() -> None:
    assert f"vllm-cpu=={vllm_cpu.VERSION} " in vllm_cpu.LOCK.read_text()
