"""HTTP mode: Slack calls, and signs what it says."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
import pytest_asyncio
from pydantic import SecretStr
from structlog.testing import capture_logs

from bot.app import background_jobs, wiring
from bot.app.http_server import HttpServer
from bot.app.settings import Settings
from bot.cli.doctor import doctor
from bot.engines.vllm.inference import VllmInference
from bot.platforms.shared.messengers import Messengers
from bot.platforms.slack.adapter import Slack
from bot.platforms.slack.settings import SlackSettings
from bot.simulator.cluster import SimulatedCluster
from tests.conftest import Clock
from tests.fakes.slack import APP_TOKEN, BOT, BOT_TOKEN, TEAM, FakeSlack, words
from tests.platforms.slack.conftest import soon

SECRET = "a-signing-secret"


@pytest_asyncio.fixture
async def address(
    settings: Settings,
    workspace: FakeSlack,
    cluster: SimulatedCluster,
    inference: VllmInference,
    clock: Clock,
    unused_tcp_port: int,
) -> AsyncIterator[str]:
    slack = Slack(
        wiring.phrasebook(settings),
        "en",
        BOT_TOKEN,
        signing_secret=SECRET,
        url=workspace.url,
        changes=cluster.changes,
    )
    built = wiring.build(settings, cluster, inference, Messengers([slack]), clock)
    running = asyncio.create_task(background_jobs.serve(settings, built, [slack]))
    health = HttpServer(
        "127.0.0.1", unused_tcp_port, ready=lambda: slack.ready, down=list, endpoints=slack.endpoints
    )
    await health.start()
    await soon(lambda: slack.ready)
    yield f"http://127.0.0.1:{unused_tcp_port}"
    await health.stop()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def call(
    address: str, body: str, *, secret: str = SECRET, age: float = 0, kind: str = "x-www-form-urlencoded"
) -> tuple[int, str]:
    stamp = str(int(time.time() - age))
    signature = hmac.new(secret.encode(), f"v0:{stamp}:{body}".encode(), hashlib.sha256).hexdigest()
    headers = {
        "X-Slack-Request-Timestamp": stamp,
        "X-Slack-Signature": f"v0={signature}",
        "Content-Type": f"application/{kind}",
    }
    url = f"{address}/slack/events"
    async with aiohttp.request("POST", url, data=body, headers=headers) as answer:
        return answer.status, await answer.text()


def command(workspace: FakeSlack, text: str) -> str:
    return urlencode(
        {
            "command": "/llm",
            "text": text,
            "user_id": "UADA",
            "team_id": TEAM,
            "channel_id": "C1",
            "trigger_id": workspace.trigger(),
            "response_url": "http://127.0.0.1:9/",
        }
    )


async def test_a_signed_command_is_acknowledged_and_answered(address: str, workspace: FakeSlack) -> None:
    status, body = await call(address, command(workspace, "gpus"))
    assert (status, body) == (200, "")
    await soon(lambda: workspace.posted("C1"))
    assert "8 of 8 GPUs are free" in words(workspace.posted("C1")[0])


@pytest.mark.parametrize("wrong", [{"secret": "guessed"}, {"age": 400}])
async def test_a_wrong_or_old_signature_is_refused(
    address: str, workspace: FakeSlack, wrong: dict[str, Any]
) -> None:
    status, _ = await call(address, command(workspace, "gpus"), **wrong)
    assert status == 401
    status, _ = await call(address, command(workspace, "models qwen"))
    await soon(lambda: workspace.posted("C1"))
    assert len(workspace.posted("C1")) == 1 and "qwen" in words(workspace.posted("C1")[0])


@pytest.mark.parametrize("stamp", ["", "now", "1e9", "-1", "9" * 5000, "1700000000 0", "0x10", "1_0"])
@pytest.mark.parametrize("signature", ["", "v0=\xff", "v0=" + "0" * 64])
async def test_kind_16_a_call_with_a_nonsensical_signature_is_refused(
    address: str, stamp: str, signature: str
) -> None:
    wrong = {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": signature}
    for body in (b"", b"\xff\xfe", b"{" * 10_000, b"payload=%7B"):
        for kind in (
            "application/json; charset=rot13",
            "application/x-www-form-urlencoded; charset=nonsense",
        ):
            url, headers = f"{address}/slack/events", {**wrong, "Content-Type": kind}
            async with aiohttp.request("POST", url, data=body, headers=headers) as answer:
                assert 400 <= answer.status < 500


async def test_kind_16_a_body_that_is_no_text_is_refused_with_any_signature(address: str) -> None:
    headers = {"X-Slack-Request-Timestamp": str(int(time.time())), "X-Slack-Signature": "v0=" + "0" * 64}
    async with aiohttp.request("POST", f"{address}/slack/events", data=b"\xff", headers=headers) as answer:
        assert answer.status == 401


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "{}}",
        '{"type": "event_callback", "event": null}',
        '{"type": "event_callback", "event_id": "E", "event": {"type": "message", "channel": 1, "ts": "1"}}',
        '{"type": "block_actions", "trigger_id": "t", "user": {"id": "UADA"}, "actions": []}',
        '{"type": "view_submission", "trigger_id": "t", "user": 7, "view": {"callback_id": "form"}}',
        '{"type": "view_submission", "trigger_id": "t", "user": {"id": "UADA"}, "view": null}',
        '{"command": "/llm", "text": "status"}',
        "[" * 100_000,
    ],
)
async def test_kind_16_a_signed_call_that_is_none_of_slacks_is_refused(address: str, body: str) -> None:
    with capture_logs() as logs:
        status, _ = await call(address, body, kind="json")
    assert status == 400
    assert [line["event"] for line in logs if line["log_level"] != "info"] == ["call.malformed"]


async def test_parts_that_slack_says_are_null_are_as_if_they_were_not_there(
    address: str, workspace: FakeSlack
) -> None:
    null = dict.fromkeys(("thread_ts", "subtype", "user_team", "team"))
    event = {**null, "type": "app_mention", "user": "UADA", "text": f"<@{BOT}> gpus", "channel": "C1"}
    event |= {"ts": "1.1"}
    told = {"type": "event_callback", "event_id": "E1", "team_id": None, "view": None, "event": event}
    assert (await call(address, json.dumps(told), kind="json"))[0] == 200
    await soon(lambda: workspace.posted("C1", "1.1"))
    click: dict[str, Any] = {"type": "block_actions", "trigger_id": "t", "user": {"id": "UADA"}}
    click |= {"channel": {"id": "C1"}, **dict.fromkeys(("team", "message", "container", "view"))}
    click |= {"actions": [{"type": "button", "action_id": "line0", "value": "\nmodels qwen"}]}
    assert (await call(address, urlencode({"payload": json.dumps(click)})))[0] == 200
    await soon(lambda: workspace.posted("C1"))


async def test_slack_can_check_the_address(address: str) -> None:
    challenge = json.dumps({"type": "url_verification", "challenge": "c-1"})
    status, body = await call(address, challenge, kind="json")
    assert status == 200 and "c-1" in body


async def test_doctor_looks_at_the_tokens(
    workspace: FakeSlack, settings: Settings, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"kubeconfig": str(tmp_path / "none")})
    own = SlackSettings(
        _env_file=None,
        slack_api_url=workspace.url,
        slack_bot_token=SecretStr(BOT_TOKEN),
        slack_app_token=SecretStr(APP_TOKEN),
    )
    assert await doctor(settings, {"slack": own}) == 1  # no cluster
    told = capsys.readouterr().out
    assert "ok    Slack knows me as llm in THOME" in told and "ok    Slack lets me connect" in told
    wrong = own.model_copy(update={"slack_app_token": SecretStr("xapp-wrong")})
    await doctor(settings, {"slack": wrong})
    told = capsys.readouterr().out
    assert "fail  Slack does not accept" in told and "xapp-wrong" not in told
