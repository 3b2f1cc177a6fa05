"""The bot's own manifests, applied to the real API server; and a way in as its ServiceAccount."""

import json
import shutil
from pathlib import Path
from typing import Protocol

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
    image: str = "llm-bot:latest",
    egress: bool = False,
) -> None:
    """What docs/operate.md says: fill in `.env`, set the namespace and the image, and apply it; with the
    component `egress`, as docs/network.md says."""
    bind_looking(admin, namespace)
    provide_storage(admin, namespace)
    admin.kubectl("apply", "-k", str(filled_in(folder, namespace, env, image, egress)))


def filled_in(folder: Path, namespace: str, env: str, image: str, egress: bool) -> Path:
    """A copy of `manifests/bot` in a folder, ready to be applied."""
    copy = folder / f"bot-{namespace}"
    shutil.copytree(ROOT / "manifests" / "bot", copy, dirs_exist_ok=True)
    (copy / ".env").write_text(env)
    for name, before, after in (
        ("kustomization.yaml", "namespace: default", f"namespace: {namespace}"),
        ("deployment.yaml", "image: llm-bot:latest", f"image: {image}"),
        *([("kustomization.yaml", "# components:", "components:")] if egress else []),
    ):
        text = (copy / name).read_text()
        assert before in text
        (copy / name).write_text(text.replace(before, after))
    return copy


def forget(admin: Admin, namespace: str) -> None:
    """What `apply` made outside the namespace."""
    admin.kubectl("delete", "clusterrolebinding", f"llm-bot-gpus-{namespace}", "--ignore-not-found")
    admin.kubectl("delete", "persistentvolumes", f"--selector=claimed-in={namespace}")


def bind_looking(admin: Admin, namespace: str) -> None:
    """Several namespaces share the test cluster, and the ClusterRoleBinding has one name: add ours."""
    admin.kubectl(
        "create",
        "clusterrolebinding",
        f"llm-bot-gpus-{namespace}",
        "--clusterrole=llm-bot-gpus",
        f"--serviceaccount={namespace}:llm-bot",
    )


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
