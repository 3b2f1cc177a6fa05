"""What a kubelet is told by the device plugin of the tests, over its own protocol."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from tests.conftest import eventually
from tests.real.device_plugin import KUBELET_SOCKET, DevicePlugin


class KubeletSide:
    """Takes the registration, then asks what a kubelet asks."""

    def __init__(self, folder: Path) -> None:
        self.registered: list[bytes] = []
        self.told: list[bytes] = []
        self.folder = folder

    async def register(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        self.registered.append(request)
        return b""

    async def listen(self) -> None:
        async with grpc.aio.insecure_channel(f"unix://{self.folder}/test-gpu.sock") as plugin:
            async for devices in plugin.unary_stream("/v1beta1.DevicePlugin/ListAndWatch")(b""):
                self.told.append(devices)

    async def allocate(self) -> bytes:
        async with grpc.aio.insecure_channel(f"unix://{self.folder}/test-gpu.sock") as plugin:
            answer: bytes = await plugin.unary_unary("/v1beta1.DevicePlugin/Allocate")(b"\n\x07\n\x05GPU-0")
        return answer


@pytest_asyncio.fixture
async def kubelet() -> AsyncIterator[KubeletSide]:
    with TemporaryDirectory() as folder:  # a short path: a socket's may have 107 bytes
        side = KubeletSide(Path(folder))
        server = grpc.aio.server()
        handler = {"Register": grpc.unary_unary_rpc_method_handler(side.register)}
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("v1beta1.Registration", handler),)
        )
        server.add_insecure_port(f"unix://{folder}/{KUBELET_SOCKET}")
        await server.start()
        yield side
        await server.stop(grace=None)


@pytest_asyncio.fixture
async def plugin(kubelet: KubeletSide) -> AsyncIterator[DevicePlugin]:
    plugin = DevicePlugin(kubelet.folder, 2)
    await plugin.start()
    yield plugin
    await plugin.stop()


async def test_it_registers_lists_loses_and_gives_back(kubelet: KubeletSide, plugin: DevicePlugin) -> None:
    assert kubelet.registered == [b"\n\x07v1beta1\x12\x0dtest-gpu.sock\x1a\x0envidia.com/gpu"]
    listening = asyncio.create_task(kubelet.listen())
    await eventually(lambda: len(kubelet.told) == 1)
    plugin.lose(1)
    await eventually(lambda: len(kubelet.told) == 2)
    plugin.give_back(1)
    await eventually(lambda: len(kubelet.told) == 3)
    listening.cancel()
    well = b"\n\x10\n\x05GPU-0\x12\x07Healthy"
    assert kubelet.told[0] == kubelet.told[2] == well + b"\n\x10\n\x05GPU-1\x12\x07Healthy"
    assert kubelet.told[1] == well + b"\n\x12\n\x05GPU-1\x12\x09Unhealthy"


async def test_it_answers_for_the_container_that_asks_or_refuses(
    kubelet: KubeletSide, plugin: DevicePlugin
) -> None:
    assert await kubelet.allocate() == b"\n\x00"
    plugin.refusal = "GPU is lost"
    with pytest.raises(grpc.aio.AioRpcError, match="GPU is lost"):
        await kubelet.allocate()
