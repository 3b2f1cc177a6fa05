"""Who decides how many replicas a Deployment has."""

from typing import Any

import pytest

from bot.cluster.replica_owner import managed_by, scaled_deployment
from tests.cluster.objects import deployment


def fields(manager: str, *owned: str, subresource: str = "") -> dict[str, Any]:
    entry = {"manager": manager, "operation": "Update", "fieldsType": "FieldsV1"}
    return entry | {
        "subresource": subresource,
        "fieldsV1": {"f:spec": {f"f:{name}": {} for name in owned}, "f:metadata": {}},
    }


def owned_by(*entries: dict[str, Any]) -> str:
    found = deployment()
    found["metadata"]["managedFields"] = list(entries)
    return managed_by(found, False)


def test_nobody_is_named_while_only_the_bot_set_them() -> None:
    assert owned_by(fields("llm-bot", "replicas", "template")) == ""
    assert managed_by(deployment(), False) == ""  # an API server that does not tell


def test_whoever_set_them_after_the_bot_is_named() -> None:
    bot = fields("llm-bot", "template")
    assert owned_by(bot, fields("kubectl", "replicas", subresource="scale")) == "kubectl"
    assert owned_by(bot, fields("kubectl-patch", "replicas")) == "kubectl-patch"
    assert owned_by(bot, fields("kube-controller-manager", "selector")) == ""


def test_two_who_agree_on_the_replicas_leave_them_to_the_bot() -> None:
    assert owned_by(fields("kubectl", "replicas"), fields("llm-bot", "replicas")) == ""


def test_without_a_name_somebody_is_somebody() -> None:
    nameless = fields("", "replicas")
    del nameless["manager"]
    assert owned_by(nameless) == "?"


@pytest.mark.parametrize(
    ("mark", "name"),
    [
        ("argocd.argoproj.io/instance", "Argo CD"),
        ("argocd.argoproj.io/tracking-id", "Argo CD"),
        ("kustomize.toolkit.fluxcd.io/name", "Flux"),
        ("helm.toolkit.fluxcd.io/name", "Flux"),
    ],
)
@pytest.mark.parametrize("where", ["labels", "annotations"])
def test_gitops_is_known_by_its_marks(mark: str, name: str, where: str) -> None:
    found = deployment()
    found["metadata"][where][mark] = "llms"
    assert managed_by(found, False) == name


def test_an_autoscaler_goes_before_all_others() -> None:
    found = deployment()
    found["metadata"]["labels"]["argocd.argoproj.io/instance"] = "llms"
    assert managed_by(found, True) == "HorizontalPodAutoscaler"


def test_a_deployment_without_labels_or_annotations_is_nobodys() -> None:
    bare = {"metadata": {"name": "x", "labels": None, "annotations": None, "managedFields": None}}
    assert managed_by(bare, False) == ""


def test_only_autoscalers_of_deployments_count() -> None:
    def scaler(kind: str) -> dict[str, Any]:
        return {"spec": {"scaleTargetRef": {"kind": kind, "name": "llm-tiny"}}}

    assert scaled_deployment(scaler("Deployment")) == "llm-tiny"
    assert scaled_deployment(scaler("StatefulSet")) is None
