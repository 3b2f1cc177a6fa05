"""The control plane of the tests."""

from pathlib import Path

from tests.real.control_plane import ControlPlane


def test_a_kubeconfig_that_programs_read_is_not_written_again(tmp_path: Path) -> None:
    plane = ControlPlane(tmp_path, tmp_path)
    file = plane.kubeconfig("ada")
    file.write_text("being read")
    assert plane.kubeconfig("ada") == file
    assert file.read_text() == "being read" and list(tmp_path.iterdir()) == [file]
