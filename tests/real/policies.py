"""A MutatingAdmissionPolicy that changes the pods of one workload, written as one writes a pod."""

import json
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]
MAPS = {"labels", "annotations", "limits", "requests", "nodeSelector"}
"""Fields whose keys are anybody's; all others are fields of the API."""
KEYED = {"containers", "initContainers", "volumes", "volumeMounts", "env", "ports"}
"""Lists whose items have a name and are merged; of others a policy can only replace the whole."""
BOT = "llm-bot"
"""The workload that is no model."""
MARK = "llm-bot-test/"
"""An annotation of each changed pod, followed by the policy's name."""
API = "admissionregistration.k8s.io/v1"


def policy(name: str, namespaces: tuple[str, ...], workload: str, patch: Json) -> Json:
    """The policy and its binding. Maps, containers, volumes, mounts, variables and ports in `patch` are
    merged into the pod's; all other lists are replaced. `workload` is a Deployment's name such as
    `llm-tinyllama`, `*` for all models, `llm-bot` for the bot; no namespaces stand for all of them."""
    label, labels = _label(workload), "object.metadata.labels"
    conditions = {"labelled": f"has({labels}) && '{label}' in {labels}"}
    if workload != "*":
        conditions["workload"] = f"{labels}['{label}'] == '{workload}'"
    if namespaces:
        conditions["namespaces"] = f"object.metadata.namespace in {json.dumps(namespaces)}"
    marked = {**patch, "metadata": {**patch.get("metadata", {}), "annotations": {MARK + name: "changed"}}}
    pods = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    spec = {
        "matchConstraints": {"resourceRules": [pods]},
        "matchConditions": [{"name": key, "expression": text} for key, text in conditions.items()],
        # policies have no order: one of a namespace comes again after one of the whole cluster, and wins
        "reinvocationPolicy": "IfNeeded" if namespaces else "Never",
        "failurePolicy": "Fail",
        "mutations": _mutations(marked),
    }
    made = {"apiVersion": API, "kind": "MutatingAdmissionPolicy", "metadata": {"name": name}, "spec": spec}
    binding = {**made, "kind": "MutatingAdmissionPolicyBinding", "spec": {"policyName": name}}
    return {"apiVersion": "v1", "kind": "List", "items": [made, binding]}


def probe(name: str, workload: str, patch: Json) -> Json:
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


def _label(workload: str) -> str:
    """What says whose pod it is."""
    return "app.kubernetes.io/name" if workload == BOT else "llm-bot/workload"


def _mutations(patch: Json) -> list[Json]:
    """What is merged, then the lists that are replaced."""
    merged = {"expression": _cel(_without_lists(patch), "Object")}
    mutations: list[Json] = [{"patchType": "ApplyConfiguration", "applyConfiguration": merged}]
    lists = [f'JSONPatch{{op: "add", path: {path}, value: {value}}}' for path, value in _lists(patch)]
    if lists:
        mutations.append({"patchType": "JSONPatch", "jsonPatch": {"expression": f"[{', '.join(lists)}]"}})
    return mutations


def _without_lists(value: Any) -> Any:
    if isinstance(value, dict):
        kept = value.items()
        return {k: _without_lists(v) for k, v in kept if not isinstance(v, list) or k in KEYED}
    if isinstance(value, list):
        return [_without_lists(item) for item in value]
    return value


def _lists(
    value: Json, path: str = '""', here: str = "object", kind: str = "Object"
) -> Iterator[tuple[str, str]]:
    """Where those are that are replaced, and by what, as CEL."""
    for key, inner in value.items():
        below, there, type_ = f'{path} + "/{key}"', f"{here}.{key}", f"{kind}.{key}"
        if isinstance(inner, dict):
            yield from _lists(inner, below, there, type_)
        elif isinstance(inner, list) and key in KEYED:
            for item in inner:
                index = f"string({there}.map(i, i.name).indexOf({json.dumps(item.get('name'))}))"
                yield from _lists(item, f'{below} + "/" + {index}', there, type_)
        elif isinstance(inner, list):
            yield below, _cel(inner, type_)


def _cel(value: Any, kind: str) -> str:
    """A value as CEL: a mapping is an object of its type, but for those of `MAPS`."""
    if isinstance(value, dict):
        if kind.rpartition(".")[2] in MAPS:
            return json.dumps(value)
        fields = (f"{key}: {_cel(inner, f'{kind}.{key}')}" for key, inner in value.items())
        return f"{kind}{{{', '.join(fields)}}}"
    if isinstance(value, list):
        return f"[{', '.join(_cel(item, kind) for item in value)}]"
    return json.dumps(value)
