"""Settings of the bot: environment variables, or the file `.env`."""

from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from bot import platforms
from bot.core.access.roles import Quota
from bot.core.chat import languages
from bot.core.chat.duration import parse_duration
from bot.core.chat.message import Place
from bot.core.chat.text import DEFAULT_LANGUAGE
from bot.core.fit.gpu import GpuName
from bot.core.idle.verdict import IdlePolicy
from bot.platforms.shared.settings import PlatformSettings

PlatformSettingsByName = dict[str, PlatformSettings]
_QUOTA_WORDS = {"gpus", "deployments", "tp", "ttl"}


def _words(value: Any) -> Any:
    return frozenset(value.replace(",", " ").split()) if isinstance(value, str) else value


def _pairs(value: Any) -> Any:
    """`a=b, c=d` → {"a": "b", "c": "d"}."""
    if not isinstance(value, str):
        return value
    pairs = [word.partition("=") for word in value.replace(",", " ").split()]
    if not all(key and found for key, _, found in pairs):
        raise ValueError("write key=value, key=value")
    return {key: found for key, _, found in pairs}


def _quota(value: Any) -> Any:
    """`gpus=2 deployments=2 tp=2 ttl=8h` → Quota; what is left out is no limit."""
    if not isinstance(value, str):
        return value
    given = _pairs(value)
    if strange := set(given) - _QUOTA_WORDS:
        raise ValueError(f"{min(strange)} is none of {', '.join(sorted(_QUOTA_WORDS))}")
    numbers = {key: int(found) for key, found in given.items() if key != "ttl"}
    return Quota(
        gpus=numbers.get("gpus"),
        deployments=numbers.get("deployments"),
        tensor_parallel_size=numbers.get("tp"),
        ttl=parse_duration(given["ttl"]) if "ttl" in given else None,
    )


def _seconds(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else value


def _zone(value: str) -> str:
    ZoneInfo(value)
    return value


if TYPE_CHECKING:
    Language = str
else:
    Language = Literal[languages.NAMES]
Words = Annotated[frozenset[str], NoDecode, BeforeValidator(_words)]
Pairs = Annotated[dict[str, str], NoDecode, BeforeValidator(_pairs)]
QuotaSetting = Annotated[Quota, NoDecode, BeforeValidator(_quota)]
Interval = Annotated[timedelta, BeforeValidator(_seconds)]
Zone = Annotated[str, BeforeValidator(_zone)]


class Settings(BaseSettings):
    """Every setting with its default, but for those of chat platforms, which are in the platforms' own
    folders; `.env.example` explains them all."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", env_ignore_empty=True)

    language: Language = DEFAULT_LANGUAGE
    timezone: Zone = "Europe/Berlin"
    admins: Words = frozenset()
    researchers: Words = frozenset()
    student_quota: QuotaSetting = Quota(2, 2, 2, timedelta(hours=12))
    researcher_quota: QuotaSetting = Quota(8, 6, 4, timedelta(days=7))

    kubeconfig: str = ""
    namespace: str = "default"
    gpu: GpuName = "v100-16gb"
    gpu_node_selector: Pairs = {}
    gpu_toleration: str = "nvidia.com/gpu"
    storage_class: str = ""
    cache_size: str = Field("200Gi", pattern=r"^\d+(Mi|Gi|Ti)$")
    ingress_host: str = ""

    vllm_image: str = "vllm/vllm-openai:v0.8.5.post1"
    vllm_api_key: SecretStr = SecretStr("")
    hf_token: SecretStr = SecretStr("")
    open_webui_image: str = "ghcr.io/open-webui/open-webui:v0.6.43"
    inference_url_template: str = "http://{service}.{namespace}.svc:8000"
    first_token_timeout: Interval = timedelta(minutes=5)
    token_timeout: Interval = timedelta(minutes=1)

    sweep_interval: Interval = timedelta(seconds=60)
    idle_mode: Literal["sleep", "report"] = "sleep"
    idle_window: Interval = Field(timedelta(minutes=30), ge=timedelta(minutes=10))
    idle_windows: Pairs = {}
    idle_warning: Interval = timedelta(minutes=10)
    failed_after: Interval = timedelta(minutes=30)
    stop_after: Interval = timedelta(days=14)
    admin_channel: str = Field("", pattern=rf"^(({'|'.join(platforms.NAMES)}):\S+)?$")
    database_url: SecretStr = SecretStr("sqlite:///llm-bot.sqlite")
    prometheus_url: str = Field("", pattern=r"^(https?://.+)?$")
    http_host: str = "0.0.0.0"
    http_port: int = Field(8080, ge=0, le=65535)

    @property
    def idle_policy(self) -> IdlePolicy:
        """When a model is idle for too long."""
        return IdlePolicy(
            self.idle_window,
            self.idle_warning,
            self.sweep_interval,
            {model: parse_duration(window) for model, window in self.idle_windows.items()},
            self.idle_mode == "sleep",
            self.failed_after,
            self.stop_after,
            ZoneInfo(self.timezone),
        )

    @property
    def admin_place(self) -> Place | None:
        """Where admins read."""
        platform, _, channel = self.admin_channel.partition(":")
        return Place(platform, channel) if channel else None


def mistakes(error: ValidationError) -> list[str]:
    """One readable line per wrong setting, or per combination of them; never a secret."""
    return [
        f"{str(problem['loc'][0]).upper()}={problem['input']!r}: {problem['msg']}"
        if problem["loc"]
        else problem["msg"]
        for problem in error.errors()
    ]


class WrongSettings(Exception):
    """Some settings are wrong or missing: a readable line for each."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def platform_settings_classes() -> dict[str, type[PlatformSettings]]:
    """By the platform's name; a platform without settings of its own (the terminal) is not among them."""
    found = {}
    for name in platforms.NAMES:
        module = f"{platforms.__name__}.{name}.settings"
        if find_spec(module):
            classes = [it for it in vars(import_module(module)).values() if isinstance(it, type)]
            [found[name]] = [
                it for it in classes if issubclass(it, PlatformSettings) and it.__module__ == module
            ]
    return found


def read_settings() -> tuple[Settings, PlatformSettingsByName]:
    """The settings of the bot, and of each platform; WrongSettings names every mistake in any of them."""
    settings, own, wrong = None, {}, []
    try:
        settings = Settings()
    except ValidationError as error:
        wrong += mistakes(error)
    for name, kind in platform_settings_classes().items():
        try:
            own[name] = kind()
        except ValidationError as error:
            wrong += mistakes(error)
    if settings is None or wrong:
        raise WrongSettings(wrong)
    return settings, own
