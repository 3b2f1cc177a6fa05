"""Every wrong setting is told when the bot starts, in one readable line."""

from pathlib import Path

import pytest

from bot.app.settings import Settings, WrongSettings, read_settings

HOW = "write sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/NAME"
WRONG = {
    "TIMEZONE=Mars": "no time zone; write one like Europe/Berlin",
    "TIMEZONE=/etc/passwd": "no time zone; write one like Europe/Berlin",
    "STUDENT_QUOTA=gpus=many": "gpus takes a number, not many",
    "STUDENT_QUOTA=gpus=-1": "gpus takes a number, not -1",
    "STUDENT_QUOTA=cpus=1": "cpus is none of deployments, gpus, tp, ttl",
    "NAMESPACE=Foo_Bar": "a namespace has lower-case letters, digits and hyphens",
    "GPU_NODE_SELECTOR=gpu": "write key=value, key=value",
    "GPU_NODE_SELECTOR=a/b/c=d": "a/b/c cannot be the key of a label or taint",
    "GPU_NODE_SELECTOR=a=-": "- cannot be the value of a label",
    "GPU_TOLERATION=a b": "a b cannot be the key of a label or taint",
    "STORAGE_CLASS=a b": "that cannot be the name of a storage class",
    "CACHE_SIZE=0Gi": "write a size like 200Gi",
    "ENGINE_CPU_REQUEST=0.5": "write cores like 2, or thousandths of one like 500m",
    "ENGINE_MEMORY_LIMIT=16G": "write a size like 16Gi",
    "INGRESS_HOST=https://x": "write a name like models.example.org, without https://",
    "VLLM_IMAGE=a b": "that cannot be the name of an image",
    "INFERENCE_URL_TEMPLATE=http://{svc}": "knows {service} and {namespace}, not {svc}",
    "INFERENCE_URL_TEMPLATE=http://{": "a brace is not closed",
    "INFERENCE_URL_TEMPLATE={service}:80": "begins with http:// or https://",
    "FIRST_TOKEN_TIMEOUT=0s": "Input should be greater than or equal to 1 second",
    "SWEEP_INTERVAL=0s": "Input should be greater than or equal to 5 seconds",
    "SWEEP_INTERVAL=1s": "Input should be greater than or equal to 5 seconds",
    "IDLE_WINDOW=5m": "Input should be greater than or equal to 10 minutes",
    "IDLE_WINDOWS=x=soon": "x=soon: a duration is written like 4h, 90m or 1h30m",
    "IDLE_WINDOW=8d": "Input should be less than or equal to 7 days",
    "IDLE_WINDOWS=llama-3-8b=1s": "llama-3-8b: at least 10m, at most 7d",
    "IDLE_WINDOWS=llama-3-8b=8d": "llama-3-8b: at least 10m, at most 7d",
    "FAILED_AFTER=0s": "Input should be greater than or equal to 1 minute",
    "FAILED_AFTER=-5m": "a duration is written like 4h, 90m or 1h30m",
    "STOP_AFTER=1d": "Input should be greater than or equal to 2 days",
    "ADMIN_CHANNEL=irc:x": "write PLATFORM:CHANNEL, with one of console, mattermost, slack",
    "PROMETHEUS_URL=prometheus:9090": "begins with http:// or https://",
}
"""What is said of a value beside it."""
WRONG_TOGETHER = {
    "SWEEP_INTERVAL=1h": "SWEEP_INTERVAL must be shorter than IDLE_WINDOW",
    "IDLE_WARNING=30m": "IDLE_WARNING must be shorter than IDLE_WINDOW",
    "IDLE_WINDOWS=lama-3-8b=1h": "IDLE_WINDOWS: the catalog has no lama-3-8b",
    "DATABASE_URL=secret": f"DATABASE_URL: {HOW}",
    "DATABASE_URL=mysql://me:secret@host/x": f"DATABASE_URL: {HOW}",
}
"""What is said without the value."""


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither of this machine nor of a `.env`."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def told(typed: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    name, _, value = typed.partition("=")
    monkeypatch.setenv(name, value)
    with pytest.raises(WrongSettings) as error:
        read_settings()
    return error.value.lines


@pytest.mark.parametrize("typed", WRONG)
def test_a_wrong_setting_is_one_readable_line(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, _, value = typed.partition("=")
    [line] = told(typed, monkeypatch)
    assert line == f"{name}={value}: {WRONG[typed]}"


@pytest.mark.parametrize("typed", WRONG_TOGETHER)
def test_what_does_not_fit_together_and_secrets_are_told_without_the_value(
    typed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(typed, monkeypatch) == [WRONG_TOGETHER[typed]]


def test_single_models_may_have_windows_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDLE_WINDOWS", "llama-3-8b=2h some/repository=15m")
    settings, _ = read_settings()
    windows = settings.idle_policy.windows
    assert {name: window.total_seconds() for name, window in windows.items()} == {
        "llama-3-8b": 7200,
        "some/repository": 900,
    }


def test_a_request_is_no_more_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_MEMORY_LIMIT", "9000Mi")
    more = "ENGINE_MEMORY_REQUEST must not be more than ENGINE_MEMORY_LIMIT"
    assert told("ENGINE_MEMORY_REQUEST=9Gi", monkeypatch) == [more]
    monkeypatch.setenv("ENGINE_MEMORY_REQUEST", "8Gi")
    monkeypatch.setenv("ENGINE_CPU_REQUEST", "500m")
    settings, _ = read_settings()
    assert settings.engine_resources == {
        "requests": {"cpu": "500m", "memory": "8Gi"},
        "limits": {"memory": "9000Mi"},
    }


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
