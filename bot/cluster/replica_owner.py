"""Who else decides how many replicas a Deployment has: then it is not ours to scale."""

from bot.cluster.client import FIELD_MANAGER, Json
from bot.cluster.shapes import SCALER

GITOPS_MARKS = {
    "argocd.argoproj.io/instance": "Argo CD",
    "argocd.argoproj.io/tracking-id": "Argo CD",
    "kustomize.toolkit.fluxcd.io/name": "Flux",
    "helm.toolkit.fluxcd.io/name": "Flux",
}
"""Labels and annotations that GitOps controllers put on what they own, and what people call them."""
AUTOSCALER = "HorizontalPodAutoscaler"
"""KEDA's ScaledObject makes one, too."""


def managed_by(deployment: Json, autoscaled: bool) -> str:
    """Who else decides how many replicas there are; empty if nobody does.

    An autoscaler, a GitOps controller, or the field manager of whoever set the replicas after us.

    The API server says who since 1.21 for patches, since 1.22 also for /scale (`kubectl scale`)."""
    metadata = deployment["metadata"]
    marks = {**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}
    if autoscaled:
        return AUTOSCALER
    for mark, name in GITOPS_MARKS.items():
        if mark in marks:
            return name
    owners = [
        entry.get("manager", "?")
        for entry in metadata.get("managedFields") or []
        if "f:replicas" in entry.get("fieldsV1", {}).get("f:spec", {})
    ]
    return "" if FIELD_MANAGER in owners or not owners else str(owners[-1])


def scaled_deployment(autoscaler: Json) -> str | None:
    """The name of the Deployment that an autoscaler scales; None if it scales something else."""
    reference = (SCALER(autoscaler) or {"spec": {}})["spec"].get("scaleTargetRef", {})
    return str(reference["name"]) if reference.get("kind") == "Deployment" else None
