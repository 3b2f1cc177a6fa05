"""Who else decides how many replicas a Deployment has: then it is not ours to scale."""

from bot.cluster.client import FIELD_MANAGER, Json

GITOPS = {
    "argocd.argoproj.io/instance": "Argo CD",
    "argocd.argoproj.io/tracking-id": "Argo CD",
    "kustomize.toolkit.fluxcd.io/name": "Flux",
    "helm.toolkit.fluxcd.io/name": "Flux",
}
AUTOSCALER = "HorizontalPodAutoscaler"
"""KEDA's ScaledObject makes one, too."""


def managed_by(deployment: Json, autoscaled: bool) -> str:
    """Its name, or nothing: an autoscaler, a GitOps controller, or whoever set the replicas after us.

    The API server says who since 1.21 for patches, since 1.22 also for /scale."""
    metadata = deployment["metadata"]
    marks = {**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}
    if autoscaled:
        return AUTOSCALER
    for mark, name in GITOPS.items():
        if mark in marks:
            return name
    owners = [
        entry.get("manager", "?")
        for entry in metadata.get("managedFields") or []
        if "f:replicas" in entry.get("fieldsV1", {}).get("f:spec", {})
    ]
    return "" if FIELD_MANAGER in owners or not owners else str(owners[-1])


def target(autoscaler: Json) -> str | None:
    """The Deployment that an autoscaler scales."""
    reference = autoscaler["spec"]["scaleTargetRef"]
    return str(reference["name"]) if reference.get("kind") == "Deployment" else None
