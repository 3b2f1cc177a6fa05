"""Settings of the bot: environment variables, or the file `.env`."""

from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from zoneinfo import ZoneInfo

from dotenv.parser import Original, parse_stream
from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from bot import MANIFESTS, platforms
from bot.app.setting_types import (
    SHORTEST_WINDOW,
    Cpu,
    Database,
    Host,
    Image,
    Interval,
    LabelKey,
    Labels,
    Memory,
    Namespace,
    QuotaSetting,
    Size,
    StorageClass,
    UrlTemplate,
    Windows,
    Words,
    Zone,
)
from bot.cluster.resources import Resources, amount
from bot.core.access.roles import Quota
from bot.core.chat import languages
from bot.core.chat.duration import spell_duration
from bot.core.chat.message import Place
from bot.core.chat.text import DEFAULT_LANGUAGE
from bot.core.fit.catalog import read_catalog
from bot.core.fit.gpu import GpuName
from bot.core.idle.verdict import LONGEST_WINDOW, IdlePolicy
from bot.core.written_forms import HttpUrl, like
from bot.platforms.shared.settings import PlatformSettings

ENV_FILE = ".env"
"""Settings that the environment does not have are read from it."""
PlatformSettingsByName = dict[str, PlatformSettings]
if TYPE_CHECKING:
    Language = str
else:
    Language = Literal[languages.NAMES]


AdminChannel = Annotated[
    str,
    like(
        rf"(({'|'.join(platforms.NAMES)}):\S+)?",
        f"write PLATFORM:CHANNEL, with one of {', '.join(platforms.NAMES)}",
    ),
]


class Settings(BaseSettings):
    """Every setting with its default, but for those of chat platforms, which are in the platforms' own
    folders; `.env.example` explains them all."""

    model_config = SettingsConfigDict(
        env_file=ENV_FILE, extra="ignore", env_ignore_empty=True, use_attribute_docstrings=True
    )

    language: Language = DEFAULT_LANGUAGE
    """The language where a person's own is not known, and of reports."""
    timezone: Zone = "Europe/Berlin"
    """Where the cluster is: times of day, office hours and the days of reports are there."""
    admins: Words = frozenset()
    """Who is an admin: ids of people, groups or private channels, separated by spaces."""
    researchers: Words = frozenset()
    """Who is a researcher, in the same way; everybody else is a student."""
    student_quota: QuotaSetting = Quota(2, 2, 2, timedelta(hours=12))
    """What one student may hold: `gpus`, `deployments`, `tp` (GPUs of one model) and `ttl` (the longest
    lease). What is left out is no limit."""
    researcher_quota: QuotaSetting = Quota(8, 6, 4, timedelta(days=7))
    """The same of one researcher."""

    kubeconfig: str = ""
    """How to reach the cluster, in a file. Empty: the ServiceAccount in a pod, else `~/.kube/config`."""
    namespace: Namespace = "default"
    """Where the models run, and where the Lease of who does the background work is."""
    gpu: GpuName = "v100-16gb"
    """The GPUs of the cluster, by name."""
    gpu_node_selector: Labels = {}
    """Labels of the nodes that models may run on: `label=value, label=value`."""
    gpu_toleration: LabelKey = "nvidia.com/gpu"
    """The taint of the GPU nodes, which models tolerate."""
    storage_class: StorageClass = ""
    """Of the model cache; empty: the cluster's default."""
    cache_size: Size = "200Gi"
    """How large the model cache is made."""
    ingress_host: Host = ""
    """Open WebUI is at https://INGRESS_HOST; empty: by port-forward."""

    vllm_image: Image = "vllm/vllm-openai:v0.8.5.post1"
    """What the models run in."""
    engine_cpu_request: Cpu = ""
    """The CPU that a model is sure to get for each of its GPUs: `500m` or `2`. Empty: 250m for vLLM."""
    engine_cpu_limit: Cpu = ""
    """The most CPU that it gets for each of them. Empty: all that is free."""
    engine_memory_request: Memory = ""
    """The memory that is kept for it, for each of its GPUs: `16Gi`. Empty: what vLLM holds while it is up, 2
    GiB and 3 GiB for each GPU."""
    engine_memory_limit: Memory = ""
    """The memory at which it is killed, for each of them. Empty: its request, its weights, and 4 GiB of
    /dev/shm."""
    vllm_api_key: SecretStr = SecretStr("")
    """The key of every model; empty: a new one for each deployment."""
    hf_token: SecretStr = SecretStr("")
    """For gated models; kept in the Secret `llm-hf-token`."""
    open_webui_image: Image = (
        "ghcr.io/open-webui/open-webui:v0.6.43"
        "@sha256:9cb724e0bc84f05ba2f81a3da5f53f5add07e1001065d83f3b6b70b9a9eeef19"
    )
    """What the web page for chats runs in."""
    inference_url_template: UrlTemplate = "http://{service}.{namespace}.svc:8000"
    """Where a model answers, as the bot reaches it."""
    first_token_timeout: Interval = Field(timedelta(minutes=5), ge=timedelta(seconds=1))
    """So long a question may wait in the model's own queue."""
    token_timeout: Interval = Field(timedelta(minutes=1), ge=timedelta(seconds=1))
    """So long an answer that flows may pause."""

    sweep_interval: Interval = Field(timedelta(seconds=60), ge=timedelta(seconds=5))
    """Leases and activity are looked at so often; at least 5 s, and more often than IDLE_WINDOW."""
    idle_mode: Literal["sleep", "report"] = "sleep"
    """`report`: only tell admins what would go to sleep."""
    idle_window: Interval = Field(timedelta(minutes=30), ge=SHORTEST_WINDOW, le=LONGEST_WINDOW)
    """A model that is not used for so long goes to sleep; at least 10 min, at most 7 d."""
    idle_windows: Windows = {}
    """The same of single models, by their key in the catalog: `llama-3-70b=2h, qwen2.5-7b=15m`."""
    idle_warning: Interval = timedelta(minutes=10)
    """Its owner is told so long before; less than IDLE_WINDOW."""
    failed_after: Interval = Field(timedelta(minutes=30), ge=timedelta(minutes=1))
    """A model that failed gives its GPUs back after so long."""
    stop_after: Interval = Field(timedelta(days=14), ge=timedelta(days=2))
    """A model that slept for so long is removed, with a warning a day before; at least 2 d."""
    admin_channel: AdminChannel = ""
    """Where admins read: `slack:C0123`, `mattermost:CHANNEL-ID`."""
    database_url: Database = SecretStr("sqlite:///llm-bot.sqlite")
    """Who used how much: `sqlite:///FILE` or `postgresql+psycopg://USER:PASSWORD@HOST/NAME`."""
    prometheus_url: HttpUrl = ""
    """The cluster's Prometheus, without `/api`: GPUs that DCGM sees at work are never idle."""
    http_host: str = "0.0.0.0"
    """Where /healthz, /readyz, /metrics and what chat servers call are served."""
    http_port: int = Field(8080, ge=0, le=65535)
    """On which port; 0: any that is free."""

    @model_validator(mode="after")
    def _times_fit(self) -> "Settings":
        """A warning comes within the window that it is about, and so does a look."""
        if self.idle_warning >= self.idle_window:
            raise PydanticCustomError("idle", "IDLE_WARNING must be shorter than IDLE_WINDOW")
        if self.sweep_interval >= self.idle_window:
            raise PydanticCustomError("idle", "SWEEP_INTERVAL must be shorter than IDLE_WINDOW")
        return self

    @model_validator(mode="after")
    def _requests_are_within_limits(self) -> "Settings":
        """Kubernetes would refuse every model."""
        for name in ("CPU", "MEMORY"):
            request, limit = (getattr(self, f"engine_{name}_{kind}".lower()) for kind in ("request", "limit"))
            if request and limit and amount(request) > amount(limit):
                told = {"name": name}
                more = "ENGINE_{name}_REQUEST must not be more than ENGINE_{name}_LIMIT"
                raise PydanticCustomError("resources", more, told)
        return self

    @model_validator(mode="after")
    def _models_are_known(self) -> "Settings":
        """A slip in a name would leave the model with the usual window. Repositories are not known here."""
        keys = [key for key in self.idle_windows if "/" not in key]
        known = read_catalog(MANIFESTS / "catalog.yaml").names() if keys else []
        if strange := sorted(set(keys) - set(known)):
            told = {"names": ", ".join(strange)}
            raise PydanticCustomError("idle", "IDLE_WINDOWS: the catalog has no {names}", told)
        return self

    @property
    def idle_policy(self) -> IdlePolicy:
        """When a model is idle for too long."""
        return IdlePolicy(
            self.idle_window,
            self.idle_warning,
            self.sweep_interval,
            self.idle_windows,
            self.idle_mode == "sleep",
            self.failed_after,
            self.stop_after,
            ZoneInfo(self.timezone),
        )

    @property
    def engine_resources(self) -> Resources:
        """What is set of a model's CPU and memory, for each of its GPUs."""
        wanted = {
            "requests": {"cpu": self.engine_cpu_request, "memory": self.engine_memory_request},
            "limits": {"cpu": self.engine_cpu_limit, "memory": self.engine_memory_limit},
        }
        return {kind: {name: q for name, q in found.items() if q} for kind, found in wanted.items()}

    @property
    def admin_place(self) -> Place | None:
        """Where admins read."""
        platform, _, channel = self.admin_channel.partition(":")
        return Place(platform, channel) if channel else None


def mistakes(error: ValidationError, kind: type[BaseSettings]) -> list[str]:
    """One readable line per wrong setting of that kind, or per combination of them; never a secret."""
    return [_mistake(problem, kind) for problem in error.errors()]


def _mistake(problem: ErrorDetails, kind: type[BaseSettings]) -> str:
    said = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        return said
    name = str(problem["loc"][0])
    if kind.model_fields[name].annotation is SecretStr:
        return f"{name.upper()}: {said}"
    found = problem["input"]
    typed = spell_duration(found) if isinstance(found, timedelta) else str(found)
    return f"{name.upper()}={typed}: {said}"


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


def mistakes_in_file(file: Path) -> list[str]:
    """One readable line per statement of a `.env` that is none, or why it cannot be read; never what it
    holds. No mistake if there is no such file."""
    try:
        if not file.is_file():
            return []
        with file.open(encoding="utf-8") as opened:
            statements = list(parse_stream(opened))
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        return [f"{file}, line {line}: it is not UTF-8"]
    except OSError as error:
        return [f"{file}: {error.strerror}"]
    return [
        f"{file}, line {_first_line(statement.original)}: write NAME=value, with both quotes or none"
        for statement in statements
        if statement.error
    ]


def _first_line(original: Original) -> int:
    """Of what is wrong, which begins after the empty lines before it."""
    written = original.string
    return original.line + written[: len(written) - len(written.lstrip())].count("\n")


def read_settings() -> tuple[Settings, PlatformSettingsByName]:
    """The settings of the bot, and of each platform; WrongSettings names every mistake in any of them."""
    if wrong := mistakes_in_file(Path(ENV_FILE)):
        raise WrongSettings(wrong)
    settings, own = None, {}
    try:
        settings = Settings()
    except ValidationError as error:
        wrong += mistakes(error, Settings)
    for name, kind in platform_settings_classes().items():
        try:
            own[name] = kind()
        except ValidationError as error:
            wrong += mistakes(error, kind)
    if settings is None or wrong:
        raise WrongSettings(wrong)
    return settings, own
