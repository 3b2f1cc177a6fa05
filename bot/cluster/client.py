"""Requests to the Kubernetes API through the official client: its auth, TLS and connections, raw JSON.

Raw, because a typed list of 500 Deployments blocks the event loop for 0.15 to 0.3 s."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import stamina
import yaml
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import load_incluster_config, load_kube_config
from kubernetes.aio.config.config_exception import ConfigException

from bot.core.chat.errors import Changed, NameTaken, UserError
from bot.core.chat.text import t, verbatim
from bot.core.counters import API_ERRORS

USUAL_FILE = "~/.kube/config"
"""Where a kubeconfig is if nothing names another."""
FIELD_MANAGER = "llm-bot"
"""In whose name the API server notes the fields that we set."""
REQUEST_SECONDS = 15.0
"""How long one request may take."""
WATCH_SECONDS = 60
"""After how long the server is to end a watch, so that a connection nobody answers on is noticed."""
LONGEST_EVENT = 4 * 2**20
"""Bytes of one event of a watch; an object may have 1.5 MiB."""
TLS_GOODBYE_SECONDS = 0.25
"""TLS connections close a moment after their session (aiohttp, "Graceful shutdown")."""
TRIES, TRYING_SECONDS = 3, 5.0
"""How often a request that may be repeated is made, the first time included; none begins later than that."""
LONGEST_RETRY_AFTER = 2.0
"""Seconds that a server may make us wait before we ask again."""
JSON_PATCH = "application/json-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
MANAGER = {"fieldManager": FIELD_MANAGER}
"""Query of a write: in whose name a field is set."""

Json = dict[str, Any]
"""An object as the API sends it."""
Body = Json | list[Json] | None
"""What a request says: an object, or the operations of a JSON patch."""
_AGAIN = stamina.AsyncRetryingCaller(
    attempts=TRIES, timeout=TRYING_SECONDS, wait_initial=0.2, wait_max=1.0, wait_jitter=0.2
)
_MAY_NOT = re.compile(r'cannot (\w+) resource "([^"]+)"(?:.*?in the namespace "([^"]+)")?')
_POLICY = re.compile(r"ValidatingAdmissionPolicy '([^']+)'.* denied request: (.+)", re.DOTALL)


class ApiError(UserError):
    """An answer that is not a success, as a sentence.

    `status` is the HTTP status, 0 if there was no answer; `retry_after` the seconds after which the server
    wants to be asked again, if it says. `lost` means that a write was sent and nobody knows whether it was
    done: no answer came, or one that the server could not do its work."""

    def __init__(
        self, status: int, error: UserError, retry_after: float | None = None, *, lost: bool = False
    ) -> None:
        super().__init__(error.text)
        self.status = status
        self.retry_after = retry_after
        self.lost = lost

    @property
    def passes(self) -> bool:
        """The API is away, or has too much to do: it is no answer to what was asked."""
        return self.status in (0, 401, 429) or self.status >= 500


def _worth_asking_again(error: Exception) -> bool | float:
    """Whether to; or after how many seconds, if the server names them. For longer nobody should wait."""
    if not isinstance(error, ApiError):
        return False
    if error.retry_after is not None and (error.status == 429 or error.status >= 500):
        return error.retry_after if error.retry_after <= LONGEST_RETRY_AFTER else False
    return error.status == 0 or error.status >= 500


class Api:
    """One connection pool to one API server."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    @property
    def client(self) -> ApiClient:
        """The official client, for what it does itself."""
        return self._client

    async def close(self) -> None:
        """End all connections."""
        await self._client.close()
        await asyncio.sleep(TLS_GOODBYE_SECONDS)

    async def request(
        self,
        method: str,
        path: str,
        body: Body = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        *,
        repeatable: bool = False,
    ) -> Any:
        """The decoded answer, JSON or text; ApiError when it is not a success.

        What may be asked twice without doing more than once, reading and what is said to be `repeatable`, is
        asked again if the API is away for a moment."""
        if method != "GET" and not repeatable:
            return await self._request(method, path, body, query or {}, content_type)
        again = _AGAIN(_worth_asking_again, self._request, method, path, body, query or {}, content_type)
        return await again

    async def _request(
        self, method: str, path: str, body: Body, query: Mapping[str, str], content_type: str
    ) -> Any:
        response = await self._send(method, path, body, query, content_type, REQUEST_SECONDS)
        writes = _writes(method, query)
        try:
            text = (await response.read()).decode(errors="replace")
        except (aiohttp.ClientError, TimeoutError, OSError):
            raise _no_answer(lost=writes) from None
        is_json = response.content_type == "application/json"
        if response.status >= 500 and writes:
            API_ERRORS.labels(str(response.status)).inc()
            raise _no_answer(response.status, _retry_after(response), lost=True)
        if response.status >= 400:
            raise explain(response.status, _status(text), _retry_after(response))
        return json.loads(text) if is_json and text else text

    async def create_once(self, path: str, body: Json) -> None:
        """Create what is shared by many; if it is there, it stays as it is."""
        with suppress(NameTaken):
            await self.request("POST", path, body, MANAGER, repeatable=True)

    @asynccontextmanager
    async def watch(
        self, path: str, version: str, query: Mapping[str, str]
    ) -> AsyncIterator[AsyncIterator[Json]]:
        """Events since `version`, until the server ends the stream; open once the block is entered.

        ApiError 410 when the version is too old; ValueError, KeyError and the like when it talks nonsense."""
        asked = {
            **query,
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        response = await self._send("GET", path, None, asked, "application/json", None)
        try:
            if response.status >= 400:
                raise explain(response.status, _status(await response.text(errors="replace")))
            yield _events(response)
        except (aiohttp.ClientError, TimeoutError, OSError):
            raise ApiError(0, UserError(t("error.api_away"))) from None
        finally:
            response.close()

    async def _send(
        self,
        method: str,
        path: str,
        body: Body,
        query: Mapping[str, str],
        content_type: str,
        seconds: float | None,
    ) -> aiohttp.ClientResponse:
        """One request; a watch (no `seconds`) may be silent a little longer than it may live."""
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=5, sock_read=WATCH_SECONDS + 30)
        asked = f"{path}?{urlencode(query)}" if query else path
        method, url, headers, body, _ = await self._client.param_serialize(
            method,
            asked,
            header_params={"Content-Type": content_type, "Accept": "application/json, */*"},
            body=body,
            query_params=[],
            auth_settings=["BearerToken"],
        )
        try:
            answer = await self._client.call_api(method, url, headers, body, _request_timeout=timeout)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise _no_answer() from None  # nothing was sent
        except (aiohttp.ClientError, TimeoutError, OSError):
            raise _no_answer(lost=_writes(method, query)) from None
        response: aiohttp.ClientResponse = answer.response
        return response


async def connect(kubeconfig: str) -> Api:
    """Read the kubeconfig, or the pod's own service account; UserError when there is neither, or it is
    unreadable."""
    configuration = Configuration()
    configuration.connection_pool_maxsize = 50
    in_cluster = "KUBERNETES_SERVICE_HOST" in os.environ
    try:
        if in_cluster and not kubeconfig:
            load_incluster_config(client_configuration=configuration)
        else:
            await _read_kubeconfig(kubeconfig or os.environ.get("KUBECONFIG") or USUAL_FILE, configuration)
        return Api(ApiClient(configuration))
    except (ConfigException, OSError) as error:
        raise UserError(t("doctor.cluster_away", why=verbatim(str(error)[:200]))) from None


async def _read_kubeconfig(file: str, configuration: Configuration) -> None:
    """`file` is one path, or several as in KUBECONFIG. The client's own reader stumbles over whatever is not
    a kubeconfig."""
    if not _exists(file):
        raise UserError(t("doctor.cluster_away", why=t("doctor.no_file", file=file)))
    try:
        await load_kube_config(file, client_configuration=configuration)
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError):
        raise UserError(t("doctor.cluster_away", why=t("doctor.no_kubeconfig", file=file))) from None


def _exists(file: str) -> bool:
    return any(Path(path).expanduser().exists() for path in file.split(os.pathsep) if path)


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[Json]:
    while line := await response.content.readline(max_line_length=LONGEST_EVENT):
        event: Json = json.loads(line)
        if event["type"] == "ERROR":
            raise explain(event["object"].get("code", 500), event["object"])
        yield event


def _writes(method: str, query: Mapping[str, str]) -> bool:
    return method != "GET" and "dryRun" not in query


def _no_answer(status: int = 0, retry_after: float | None = None, *, lost: bool = False) -> ApiError:
    text = t("error.outcome_unknown") if lost else t("error.api_away")
    return ApiError(status, UserError(text), retry_after, lost=lost)


def _status(text: str) -> Any:
    """The Status object that a refusal carries; of a proxy in between, what it says."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    said = response.headers.get("Retry-After", "")
    return float(said) if said.isdecimal() else None


def explain(status: int, answer: Any, retry_after: float | None = None) -> UserError:
    """A Status object of the API as a sentence."""
    API_ERRORS.labels(str(status)).inc()
    message = str(answer.get("message", "") if isinstance(answer, dict) else answer)
    reason = answer.get("reason", "") if isinstance(answer, dict) else ""
    if status == 409 and reason == "AlreadyExists":
        return NameTaken(t("error.api_refused", why=message[:300]))
    if status == 409:
        return Changed(t("error.api_refused", why=message[:300]))
    return ApiError(status, _sentence(status, message), retry_after)


def _sentence(status: int, message: str) -> UserError:
    if found := _POLICY.search(message):
        return UserError(t("error.policy", policy=found[1], why=found[2].rstrip(".")[:300]))
    if status == 403 and "exceeded quota" in message:
        return UserError(t("error.quota", why=message[:300]))
    if status == 403 and (found := _MAY_NOT.search(message)):
        verb, resource, namespace = found[1], found[2], found[3] or "*"
        return UserError(t("error.forbidden", verb=verb, resource=resource, namespace=namespace))
    if status >= 500 or status in (401, 429):
        return UserError(t("error.api_away"))
    return UserError(t("error.api_refused", why=message[:300]))
