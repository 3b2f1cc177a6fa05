"""API keys of models: derived from one key of the bot, so that no model's Secret is ever read.

A Deployment names the Secret with its key. That name ends in a nonce and a proof that the Secret was made
with this key of the bot and this setting; of any other Secret the key is not known."""

import asyncio
import base64
import hashlib
import hmac
import secrets

from bot.cluster.client import Api, ApiError, Json
from bot.cluster.manifests import MANAGED, ApiKey, WorkloadSettings, key_secret, owned_by, workload_objects
from bot.core.chat.errors import UserError
from bot.core.chat.text import t
from bot.core.deployment.record import Record
from bot.core.deployment.workload import Spec
from bot.core.ports import Engine

NAME, FIELD = "llm-bot-key", "key"
"""The Secret with the bot's own key, and where in it."""
KEY_BYTES = 32
NONCE_BYTES, PROOF_DIGITS = 6, 8
"""At the end of a Secret's name; the nonce is written in hexadecimal, too."""


class ModelKeys:
    """The bot's key is made once by whoever needs it first, and read once by every process. UserError when it
    cannot be had."""

    def __init__(self, api: Api, settings: WorkloadSettings, engine: Engine) -> None:
        self._api, self._settings, self._engine = api, settings, engine
        self._secrets = f"/api/v1/namespaces/{settings.namespace}/secrets"
        self._root = b""
        self._reading = asyncio.Lock()

    async def make(self, deployment: str) -> ApiKey:
        """A new one for the Deployment of this name."""
        await self._read_root()
        nonce = secrets.token_hex(NONCE_BYTES)
        secret = f"{deployment}-{nonce}{self._proof(deployment, nonce)}"
        return ApiKey(secret, self._value(secret))

    async def find(self, deployment: Json) -> ApiKey | None:
        """That of a Deployment as it is; None if an older version, another key of the bot or another setting
        made it."""
        await self._read_root()
        secret = key_secret(deployment)
        name, _, end = secret.rpartition("-")
        nonce, proof = end[: 2 * NONCE_BYTES], end[2 * NONCE_BYTES :]
        known = hmac.compare_digest(self._proof(name, nonce).encode(), proof.encode())
        return ApiKey(secret, self._value(secret)) if known else None

    async def of(self, deployment: Json) -> ApiKey:
        """That of a Deployment as it is; without a value if that is not known."""
        return await self.find(deployment) or ApiKey(key_secret(deployment), "")

    async def lost(self, deployment: Json) -> bool:
        """No pod runs, and the next are to get a new key: that of before is not known any more."""
        return not deployment["spec"]["replicas"] and await self.find(deployment) is None

    async def for_pods(self, deployment: Json, spec: Spec, record: Record) -> ApiKey:
        """What pods that are made from now on have their key from; its Secret is there."""
        if not await self.lost(deployment):
            return await self.of(deployment)
        key = await self.make(deployment["metadata"]["name"])
        secret = workload_objects(spec, record, self._settings, self._engine, key)["Secret"]
        await self._api.create_once(self._secrets, owned_by(secret, deployment))
        return key

    async def for_purpose(self, purpose: str) -> str:
        """Another secret of the bot's, always the same."""
        await self._read_root()
        return _text(self._sign("purpose", purpose))

    def _value(self, secret: str) -> str:
        return self._settings.api_key or _text(self._sign("key", secret))

    def _proof(self, deployment: str, nonce: str) -> str:
        return self._sign("proof", deployment, nonce, self._settings.api_key).hex()[:PROOF_DIGITS]

    def _sign(self, *parts: str) -> bytes:
        return hmac.digest(self._root, "\0".join((self._settings.namespace, *parts)).encode(), hashlib.sha256)

    async def _read_root(self) -> None:
        async with self._reading:
            if not self._root:
                self._root = await self._read_or_make()

    async def _read_or_make(self) -> bytes:
        found = await _read(self._api, f"{self._secrets}/{NAME}")
        if found is None:
            fresh = _fresh(self._settings.namespace)
            await self._api.create_once(self._secrets, fresh)  # if another process was faster, its key counts
            found = await _read(self._api, f"{self._secrets}/{NAME}")
        if not found:
            raise UserError(t("error.bot_key", secret=NAME, namespace=self._settings.namespace))
        return found


async def _read(api: Api, path: str) -> bytes | None:
    """What the Secret holds, empty if that is no key; None if there is none."""
    try:
        secret = await api.request("GET", path)
    except ApiError as error:
        if error.status == 404:
            return None
        raise
    key = base64.b64decode((secret.get("data") or {}).get(FIELD, ""))
    return key if len(key) >= KEY_BYTES else b""


def _fresh(namespace: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {"name": NAME, "namespace": namespace, "labels": dict(MANAGED)},
        "stringData": {FIELD: secrets.token_urlsafe(KEY_BYTES)},
    }


def _text(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
