"""The control plane of the tests."""

from pathlib import Path

from tests.real.control_plane import ControlPlane


def test_a_kubeconfig_that_programs_read_is_not_written_again(tmp_path: Path) -> None:
    plane = ControlPlane(tmp_path, tmp_path)
    written = plane.kubeconfig("ada").stat()
    assert plane.kubeconfig("ada").stat() == written
    assert len(list(tmp_path.iterdir())) == 1
