"""The bot's own manifests, applied to the real API server; and a way in as its ServiceAccount."""

import json
import shutil
from pathlib import Path
from typing import Protocol

from bot import __version__
from tests.real.control_plane import ControlPlane

ROOT = Path(__file__).parents[2]


class Admin(Protocol):
    """Somebody who may do everything."""

    def kubectl(self, *arguments: str, stdin: str = "") -> str: ...


def install(plane: ControlPlane, folder: Path, namespace: str) -> Path:
    """Apply `manifests/bot` in a namespace; the kubeconfig of the ServiceAccount `llm-bot` there."""
    plane.kubectl("create", "namespace", namespace)
    apply(plane, folder, namespace, (ROOT / ".env.example").read_text())
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/llm-bot/token"
    made = plane.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(request))
    return plane.kubeconfig(json.loads(made)["status"]["token"])


def apply(
    admin: Admin,
    folder: Path,
    namespace: str,
    env: str,
    image: str = f"llm-bot:{__version__}",
    egress: bool = False,
) -> None:
    """What docs/operate.md says: fill in `.env`, set the namespace and the image, and apply it; with the
    component `egress`, as docs/network.md says."""
    provide_storage(admin, namespace)
    admin.kubectl("apply", "-k", str(filled_in(folder, namespace, env, image, egress)))


def filled_in(folder: Path, namespace: str, env: str, image: str, egress: bool) -> Path:
    """A copy of `manifests/bot` in a folder, ready to be applied."""
    copy = folder / f"bot-{namespace}"
    shutil.copytree(ROOT / "manifests" / "bot", copy, dirs_exist_ok=True)
    (copy / ".env").write_text(env)
    file = copy / "kustomization.yaml"
    name, tag = image.split(":")
    for before, after in (
        ("namespace: llm-bot", f"namespace: {namespace}"),
        ("newName: llm-bot", f"newName: {name}"),
        (f'newTag: "{__version__}"', f'newTag: "{tag}"'),
        *([("# - components/egress", "- components/egress")] if egress else []),
    ):
        text = file.read_text()
        assert before in text
        file.write_text(text.replace(before, after))
    return copy


def forget(admin: Admin, namespace: str) -> None:
    """What `apply` made outside the namespace, but for what all bots share."""
    admin.kubectl("delete", "clusterrolebinding", f"llm-bot-gpus:{namespace}", "--ignore-not-found")
    admin.kubectl("delete", "persistentvolumes", f"--selector=claimed-in={namespace}")


def provide_storage(admin: Admin, namespace: str) -> None:
    """Volumes that the claims of the bot can be bound to."""
    volumes = [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"{namespace}-{mode.lower()}", "labels": {"claimed-in": namespace}},
            "spec": {
                "capacity": {"storage": "200Gi"},
                "accessModes": [mode],
                "hostPath": {"path": "/var/tmp"},
                "claimRef": {"namespace": namespace, "name": claim},
            },
        }
        for mode, claim in (("ReadWriteMany", "llm-models"), ("ReadWriteOnce", "llm-webui"))
    ]
    listed = {"apiVersion": "v1", "kind": "List", "items": volumes}
    admin.kubectl("apply", "-f", "-", stdin=json.dumps(listed))
