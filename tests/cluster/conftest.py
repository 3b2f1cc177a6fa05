"""An API server that speaks the wire, in the namespace `demo`."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.fakes.kubernetes import FakeKubernetes


@pytest_asyncio.fixture
async def kubernetes() -> AsyncIterator[FakeKubernetes]:
    fake = FakeKubernetes()
    await fake.start()
    yield fake
    await fake.stop()
