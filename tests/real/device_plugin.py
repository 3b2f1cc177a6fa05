"""A device plugin for a real kubelet: GPUs that do not exist, can be lost and refused.

It speaks the kubelet's own gRPC API (device plugins, v1beta1). The messages are few and flat, so they are
written by hand as protobuf wants them: a field is its number and length, then its bytes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeAlias

import grpc
import grpc.aio

RESOURCE = "nvidia.com/gpu"
KUBELET_SOCKET = "kubelet.sock"
"""Where a kubelet listens for plugins, in /var/lib/kubelet/device-plugins whatever its root folder is: of two
kubelets on one machine the later has it, unless each sees a folder of its own there (a mount namespace)."""
_Context: TypeAlias = grpc.aio.ServicerContext
_LENGTH_DELIMITED = 2
"""Protobuf's wire type of strings and messages."""


class DevicePlugin:
    """Announces `gpus` devices to the kubelet whose folder of plugin sockets is given.

    `refusal`: with this sentence every allocation fails, as a driver that has lost its GPU makes it."""

    def __init__(self, sockets: Path, gpus: int) -> None:
        self.refusal = ""
        self._sockets = sockets
        self._healthy = {f"GPU-{number}": True for number in range(gpus)}
        self._changed = asyncio.Event()
        self._server = grpc.aio.server()

    async def start(self) -> None:
        """Listen beside the kubelet and tell it; grpc.RpcError when it does not want us."""
        endpoint = "test-gpu.sock"
        self._server.add_generic_rpc_handlers((self._methods(),))
        self._server.add_insecure_port(f"unix://{self._sockets / endpoint}")
        await self._server.start()
        request = _field(1, b"v1beta1") + _field(2, endpoint.encode()) + _field(3, RESOURCE.encode())
        async with grpc.aio.insecure_channel(f"unix://{self._sockets / KUBELET_SOCKET}") as kubelet:
            await kubelet.unary_unary("/v1beta1.Registration/Register")(request)

    async def stop(self) -> None:
        """Go; the kubelet then counts all of them as lost."""
        await self._server.stop(grace=None)

    def lose(self, number: int) -> None:
        """That GPU is not healthy any more; who has it keeps it."""
        self._set(number, healthy=False)

    def give_back(self, number: int) -> None:
        """It is healthy again."""
        self._set(number, healthy=True)

    def _set(self, number: int, *, healthy: bool) -> None:
        self._healthy[f"GPU-{number}"] = healthy
        self._changed.set()
        self._changed = asyncio.Event()

    def _methods(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            "v1beta1.DevicePlugin",
            {
                "GetDevicePluginOptions": grpc.unary_unary_rpc_method_handler(self._options),
                "ListAndWatch": grpc.unary_stream_rpc_method_handler(self._list_and_watch),
                "Allocate": grpc.unary_unary_rpc_method_handler(self._allocate),
            },
        )

    async def _options(self, request: bytes, context: _Context) -> bytes:
        return b""  # nothing before a container starts, no preferred allocation

    async def _list_and_watch(self, request: bytes, context: _Context) -> AsyncIterator[bytes]:
        while True:
            changed = self._changed
            yield b"".join(_field(1, _device(name, ok)) for name, ok in self._healthy.items())
            await changed.wait()

    async def _allocate(self, request: bytes, context: _Context) -> bytes:
        if self.refusal:
            await context.abort(grpc.StatusCode.UNKNOWN, self.refusal)
        return _field(1, b"")  # a kubelet asks container by container; there is nothing to mount


def _device(name: str, healthy: bool) -> bytes:
    return _field(1, name.encode()) + _field(2, b"Healthy" if healthy else b"Unhealthy")


def _field(number: int, value: bytes) -> bytes:
    """One of a message; lengths below 128, which are a byte of their own."""
    return bytes([number << 3 | _LENGTH_DELIMITED, len(value)]) + value
