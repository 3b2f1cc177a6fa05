"""The bot's own manifests, applied to the real API server; and a way in as its ServiceAccount."""

import json
import shutil
from pathlib import Path

from tests.real.control_plane import ControlPlane

ROOT = Path(__file__).parents[2]


def install(plane: ControlPlane, folder: Path, namespace: str) -> Path:
    """Apply `manifests/bot` in a namespace; the kubeconfig of the ServiceAccount `llm-bot` there."""
    copy = folder / f"bot-{namespace}"
    shutil.copytree(ROOT / "manifests" / "bot", copy, dirs_exist_ok=True)
    (copy / ".env").write_text((ROOT / ".env.example").read_text())
    kustomization = copy / "kustomization.yaml"
    kustomization.write_text(
        kustomization.read_text().replace("namespace: default", f"namespace: {namespace}")
    )
    plane.kubectl("create", "namespace", namespace)
    plane.kubectl("apply", "-k", str(copy))
    bind_looking(plane, namespace)
    provide_storage(plane, namespace)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/llm-bot/token"
    made = plane.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(request))
    return plane.kubeconfig(json.loads(made)["status"]["token"])


def bind_looking(plane: ControlPlane, namespace: str) -> None:
    """Several namespaces share the test cluster, and the ClusterRoleBinding has one name: add ours."""
    plane.kubectl(
        "create",
        "clusterrolebinding",
        f"llm-bot-gpus-{namespace}",
        "--clusterrole=llm-bot-gpus",
        f"--serviceaccount={namespace}:llm-bot",
    )


def provide_storage(plane: ControlPlane, namespace: str) -> None:
    """Volumes that the claims of the bot can be bound to."""
    volumes = [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"{namespace}-{mode.lower()}"},
            "spec": {
                "capacity": {"storage": "200Gi"},
                "accessModes": [mode],
                "hostPath": {"path": "/tmp"},
                "claimRef": {"namespace": namespace, "name": claim},
            },
        }
        for mode, claim in (("ReadWriteMany", "llm-models"), ("ReadWriteOnce", "llm-webui"))
    ]
    listed = {"apiVersion": "v1", "kind": "List", "items": volumes}
    plane.kubectl("apply", "-f", "-", stdin=json.dumps(listed))
