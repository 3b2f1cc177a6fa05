"""What the bot must be allowed to do, and a look at whether it is: `python -m bot doctor`."""

from collections.abc import AsyncIterator
from itertools import product
from typing import NamedTuple

from bot.cluster.client import Api, Json, connect
from bot.cluster.gpus import reduce_node
from bot.cluster.lease_lock import NAME as LEASE
from bot.cluster.manifests import HF_SECRET, WorkloadSettings
from bot.cluster.model_cache import find_claim, is_shared
from bot.cluster.model_keys import NAME as BOT_KEY
from bot.cluster.state_store import NAME as STATE
from bot.cluster.web_ui import NAME as WEB_UI
from bot.core.chat.errors import UserError
from bot.core.chat.text import t
from bot.core.finding import Finding
from bot.core.ports import Engine

OWN_IMAGE = "manifests/bot/kustomization.yaml"
"""Where the bot's own image is named."""
MODELS = "llm-models"
"""The claim of the volume of all weights."""


class Right(NamedTuple):
    """Verbs on a resource."""

    group: str
    """Of the API; empty is the core group."""
    resource: str
    """In the plural, with its subresource after a slash."""
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()
    """Of the objects; empty: any."""
    everywhere: bool = False
    """In the whole cluster, not only in the bot's namespace."""
    needed: bool = True
    """The bot does not work without; else it works, and has less to show."""


RIGHTS = (
    Right("apps", "deployments", ("get", "list", "watch", "create", "patch", "delete")),
    Right("", "pods", ("list", "watch", "delete")),
    Right("", "pods/log", ("get",)),
    Right("", "events", ("list", "watch"), needed=False),
    Right("autoscaling", "horizontalpodautoscalers", ("list", "watch"), needed=False),
    Right("", "services", ("create", "patch", "delete")),
    Right("", "secrets", ("create",)),
    Right("", "secrets", ("get",), (BOT_KEY,)),
    Right("", "secrets", ("patch",), (WEB_UI, HF_SECRET)),
    Right("", "configmaps", ("create",)),
    Right("", "configmaps", ("get", "patch"), (STATE,)),
    Right("", "persistentvolumeclaims", ("create",)),
    Right("", "persistentvolumeclaims", ("get",), (MODELS,)),
    Right("coordination.k8s.io", "leases", ("create",)),
    Right("coordination.k8s.io", "leases", ("get", "update"), (LEASE,)),
    Right("networking.k8s.io", "ingresses", ("create",)),
    Right("networking.k8s.io", "ingresses", ("patch", "delete"), (WEB_UI,)),
    Right("", "nodes", ("list", "watch"), everywhere=True, needed=False),
    Right("", "pods", ("list", "watch"), everywhere=True, needed=False),
    Right("storage.k8s.io", "storageclasses", ("list",), everywhere=True, needed=False),
)
"""All that the requests in this folder use; `manifests/bot/` grants it, and a test compares them."""


async def examine(kubeconfig: str, settings: WorkloadSettings, engine: Engine) -> AsyncIterator[Finding]:
    """Look at connection, rights, GPU nodes and storage; findings as they are made."""
    try:
        api = await connect(kubeconfig)
    except UserError as error:
        yield "fail", error.text, t("doctor.cluster_todo")
        return
    try:
        version = await api.request("GET", "/version")
        yield "ok", t("doctor.cluster", version=version["gitVersion"]), None
        for right in RIGHTS:
            async for finding in _allowed(api, right, settings.namespace):
                yield finding
        async for finding in _images(api, settings):
            yield finding
        nodes, finding = await _nodes(api)
        yield finding
        yield await _storage(api, settings.storage_class)
        claim = await find_claim(api, settings, engine)
        if claim and not is_shared(claim) and nodes > 1:
            text = t("doctor.cache_one_node", claim=claim["metadata"]["name"], count=nodes)
            yield "warn", text, t("doctor.cache_todo")
    except UserError as error:
        yield "fail", t("doctor.cluster_away", why=error.text), t("doctor.cluster_todo")
    finally:
        await api.close()


async def _allowed(api: Api, right: Right, namespace: str) -> AsyncIterator[Finding]:
    resource, _, subresource = right.resource.partition("/")
    for verb, name in product(right.verbs, right.names or ("",)):
        asked: Json = {"verb": verb, "group": right.group, "resource": resource, "name": name}
        asked |= {"subresource": subresource} if subresource else {}
        asked |= {} if right.everywhere else {"namespace": namespace}
        review = await api.request(
            "POST",
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": asked},
            },
        )
        which = f"{right.resource} {name}".strip()
        where = t("doctor.everywhere", resource=which) if right.everywhere else which
        if review["status"]["allowed"]:
            yield "ok", t("doctor.right", verb=verb, resource=where), None
        else:
            level = "fail" if right.needed else "warn"
            why = review["status"].get("reason") or "RBAC"
            text = t("doctor.right_missing", verb=verb, resource=where, why=why)
            yield level, text, t("doctor.right_todo")


async def _images(api: Api, settings: WorkloadSettings) -> AsyncIterator[Finding]:
    """Whether each image is named by its digest: what a tag names, others can change."""
    named = [("VLLM_IMAGE", settings.image), ("OPEN_WEBUI_IMAGE", settings.open_webui_image)]
    try:
        own = {"labelSelector": "app.kubernetes.io/name=llm-bot"}
        path = f"/api/v1/namespaces/{settings.namespace}/pods"
        pods = (await api.request("GET", path, query=own))["items"]
    except UserError:
        pods = []
    named += [(OWN_IMAGE, pod["spec"]["containers"][0]["image"]) for pod in pods]
    for where, image in named:
        if "@sha256:" in image:
            yield "ok", t("doctor.image", image=image), None
        else:
            todo = "doctor.image_own_todo" if where == OWN_IMAGE else "doctor.image_todo"
            yield "warn", t("doctor.image_tag", image=image), t(todo, image=image, where=where)


async def _nodes(api: Api) -> tuple[int, Finding]:
    """How many nodes have GPUs, and whether that is enough."""
    try:
        nodes = [reduce_node(node) for node in (await api.request("GET", "/api/v1/nodes"))["items"]]
    except UserError:
        nodes = []
    gpus = [node.gpus for node in nodes if node.gpus]
    if not gpus:
        return 0, ("warn", t("doctor.nodes_none"), t("doctor.nodes_todo"))
    return len(gpus), ("ok", t("doctor.nodes", count=len(gpus), gpus=sum(gpus)), None)


async def _storage(api: Api, wanted: str) -> Finding:
    try:
        path = "/apis/storage.k8s.io/v1/storageclasses"
        classes = (await api.request("GET", path))["items"]
    except UserError:
        classes = []
    default = "storageclass.kubernetes.io/is-default-class"
    for found in classes:
        annotations = found["metadata"].get("annotations") or {}
        name = found["metadata"]["name"]
        if name == wanted or (not wanted and annotations.get(default) == "true"):
            return "ok", t("doctor.storage", name=name), None
    text = t("doctor.storage_unknown", name=wanted) if wanted else t("doctor.storage_none")
    return "warn", text, t("doctor.storage_todo")
