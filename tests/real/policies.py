"""A MutatingAdmissionPolicy that changes the pods of one workload, written as one writes a pod."""

import json
from typing import Any

MAPS = {"labels", "annotations", "limits", "requests", "nodeSelector"}
"""Fields whose keys are anybody's; all others are fields of the API."""
BOT = "llm-bot"
"""The workload that is no model."""
MARK = "llm-bot-test/"
"""An annotation of each changed pod, followed by the policy's name."""


def policy(name: str, namespaces: tuple[str, ...], workload: str, patch: dict[str, Any]) -> dict[str, Any]:
    """The policy and its binding. `patch` is merged as in a server-side apply: containers, volumes and
    variables by name; all other lists are replaced. `workload` is a Deployment's name such as
    `llm-tinyllama`, `*` for all models, `llm-bot` for the bot; no namespaces stand for all of them."""
    name_of, labelled = _label(workload), "object.metadata.labels"
    conditions = {"labelled": f"has({labelled}) && '{name_of}' in {labelled}"}
    if workload != "*":
        conditions["workload"] = f"{labelled}['{name_of}'] == '{workload}'"
    if namespaces:
        conditions["namespaces"] = f"object.metadata.namespace in {json.dumps(namespaces)}"
    marked = {**patch, "metadata": {**patch.get("metadata", {}), "annotations": {MARK + name: "changed"}}}
    change = {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression(marked)}}
    pods = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    api = "admissionregistration.k8s.io/v1"
    items = [
        {
            "apiVersion": api,
            "kind": "MutatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "matchConstraints": {"resourceRules": [pods]},
                "matchConditions": [{"name": key, "expression": text} for key, text in conditions.items()],
                "reinvocationPolicy": "Never",
                "failurePolicy": "Fail",
                "mutations": [change],
            },
        },
        {
            "apiVersion": api,
            "kind": "MutatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name},
        },
    ]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def _label(workload: str) -> str:
    """What says whose pod it is."""
    return "app.kubernetes.io/name" if workload == BOT else "llm-bot/workload"


def expression(value: Any, kind: str = "Object") -> str:
    """A value as CEL: a mapping is an object of its type, but for those of `MAPS`."""
    if isinstance(value, dict):
        if kind.rpartition(".")[2] in MAPS:
            return json.dumps(value)
        fields = (f"{key}: {expression(inner, f'{kind}.{key}')}" for key, inner in value.items())
        return f"{kind}{{{', '.join(fields)}}}"
    if isinstance(value, list):
        return f"[{', '.join(expression(item, kind) for item in value)}]"
    return json.dumps(value)


def probe(name: str, workload: str, patch: dict[str, Any]) -> dict[str, Any]:
    """A pod that the policy changes: made dry, it shows whether the policy is in force."""
    spec = patch.get("spec", {})
    containers = [{"name": part["name"], "image": "none"} for part in spec.get("containers", [])]
    labels = {_label(workload): "llm-probe" if workload == "*" else workload}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"probe-{name}", "labels": labels},
        "spec": {"containers": containers or [{"name": "vllm", "image": "none"}]},
    }
