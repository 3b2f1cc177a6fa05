"""Wiring: settings → adapters → services → platforms. The only file that knows every other."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

from bot import MANIFESTS
from bot.app.settings import Settings
from bot.cluster.manifests import WorkloadSettings
from bot.commands import COMMANDS
from bot.commands.simulate import Breakable, Simulate
from bot.core.access.roles import Access, Role
from bot.core.chat.text import Phrasebook, t
from bot.core.counters import SWEEP
from bot.core.fit.catalog import read_catalog
from bot.core.fit.gpu import PROFILES
from bot.core.fit.planning import Planner
from bot.core.ports import Clock, Cluster
from bot.core.usage.records import Monitoring
from bot.dispatch import Dispatcher
from bot.engines.vllm.inference import VllmInference
from bot.grammar.command import Command, Services
from bot.observability import chart
from bot.platforms.mattermost.people import SYSTEM_ADMIN
from bot.platforms.shared.messengers import Messengers
from bot.services.deployments.gpu_queue import GpuQueue
from bot.services.deployments.lifecycle import Lifecycle
from bot.services.idle.activity import Activity
from bot.services.idle.scale_down import ScaleDown
from bot.services.idle.sweep import Sweep
from bot.services.operations.alerts import Alerts
from bot.services.operations.incidents import Incidents
from bot.services.operations.reports import Reports
from bot.services.operations.usage_recorder import UsageRecorder
from bot.services.questions.conversation import Conversation
from bot.services.questions.model_selector import ModelSelector
from bot.services.questions.pending_questions import PendingQuestions
from bot.services.startup.card_updater import CardUpdater
from bot.services.startup.failure_diagnoses import FailureDiagnoses
from bot.services.startup.readiness import SmokeTest
from bot.services.web_ui.service import WebUiService
from bot.storage.ledger import Ledger

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class App:
    """The services of one cluster, and the road to them."""

    dispatcher: Dispatcher
    services: Services
    idle_sweep: Sweep
    gpu_queue: GpuQueue
    ledger: Ledger

    @property
    def alerts(self) -> Alerts:
        """What admins are told."""
        return self.services.alerts

    async def sweep(self) -> None:
        """What is due by itself; then admins hear what is wrong, be it that the sweep has failed."""
        try:
            with SWEEP.time():
                await self.idle_sweep.run()
        finally:
            await self.alerts.look()

    async def close(self) -> None:
        """End what only this app uses; what it was built from is closed by whoever made it."""
        await self.ledger.close()


def phrasebook(settings: Settings) -> Phrasebook:
    """Every sentence in every language."""
    return Phrasebook(ROOT / "bot" / "locales", settings.timezone)


def planner(settings: Settings) -> Planner:
    """The catalog, judged for the cluster's GPUs."""
    return Planner(read_catalog(MANIFESTS / "catalog.yaml"), PROFILES[settings.gpu])


def workload_settings(settings: Settings) -> WorkloadSettings:
    """What of the settings ends up in manifests."""
    return WorkloadSettings(
        namespace=settings.namespace,
        image=settings.vllm_image,
        open_webui_image=settings.open_webui_image,
        node_selector=settings.gpu_node_selector,
        toleration=settings.gpu_toleration,
        storage_class=settings.storage_class,
        cache_size=settings.cache_size,
        ingress_host=settings.ingress_host,
        api_key=settings.vllm_api_key.get_secret_value(),
        hf_token=settings.hf_token.get_secret_value(),
    )


def _access(settings: Settings, operator: str) -> Access:
    by_office = {operator} if operator else set()
    by_office |= {SYSTEM_ADMIN} if settings.mattermost_token else set()
    return Access(
        {Role.ADMIN: frozenset(settings.admins | by_office), Role.RESEARCHER: settings.researchers},
        {Role.STUDENT: settings.student_quota, Role.RESEARCHER: settings.researcher_quota},
    )


def _commands(cluster: Cluster) -> dict[str, type[Command]]:
    """Those that make sense there."""
    breakable = isinstance(cluster, Breakable)
    return {verb: command for verb, command in COMMANDS.items() if verb != Simulate.verb or breakable}


def _alerts(
    settings: Settings,
    cluster: Cluster,
    messenger: Messengers,
    activity: Activity,
    card_updater: CardUpdater,
    clock: Clock,
) -> Alerts:
    incidents = Incidents(cluster, messenger, activity, card_updater, clock)
    return Alerts(cluster, messenger, incidents, clock, settings.admin_place)


def _reports(settings: Settings, ledger: Ledger, messenger: Messengers, clock: Clock) -> Reports:
    """Its chart speaks the language of the place where admins read."""
    zone, say = ZoneInfo(settings.timezone), phrasebook(settings).say
    labels = [say(t(f"report.{part}"), settings.language) for part in ("busy", "idle", "free", "unit")]
    draw = partial(chart.draw, labels=labels[:3], unit=labels[3])
    return Reports(ledger, messenger, draw, clock, zone, settings.admin_place)


def build(
    settings: Settings,
    cluster: Cluster,
    inference: VllmInference,
    messenger: Messengers,
    clock: Clock,
    operator: str = "",
    monitoring: Monitoring | None = None,
) -> App:
    """Put the services together. `operator` is the person at the terminal, who is an admin."""
    access, policy = _access(settings, operator), settings.idle_policy
    ledger, plans = Ledger(settings.database_url.get_secret_value()), planner(settings)
    activity = Activity(cluster, inference, clock, policy, monitoring)
    gpu_queue = GpuQueue(cluster, messenger, activity, clock)
    lifecycle = Lifecycle(cluster, access, gpu_queue, clock, ZoneInfo(settings.timezone))
    smoke_test, failures = SmokeTest(cluster, inference), FailureDiagnoses(cluster)
    card_updater = CardUpdater(cluster, messenger, clock, policy, gpu_queue, smoke_test, failures)
    model_selector = ModelSelector(cluster, plans.catalog, messenger)
    known = model_selector, lifecycle, activity, card_updater, PendingQuestions(cluster, messenger, clock)
    conversation = Conversation(cluster, inference, messenger, *known, clock)
    services = Services(
        access=access,
        activity=activity,
        model_selector=model_selector,
        alerts=_alerts(settings, cluster, messenger, activity, card_updater, clock),
        clock=clock,
        cluster=cluster,
        conversation=conversation,
        lifecycle=lifecycle,
        messenger=messenger,
        planner=plans,
        reports=_reports(settings, ledger, messenger, clock),
        card_updater=card_updater,
        web_ui=WebUiService(cluster, access),
    )
    recorder = UsageRecorder(cluster, activity, gpu_queue, failures, ledger, clock)
    scale_down = ScaleDown(cluster, inference, activity)
    sweep = Sweep(cluster, messenger, activity, scale_down, gpu_queue, recorder, clock, settings.admin_place)
    return App(Dispatcher(services, _commands(cluster)), services, sweep, gpu_queue, ledger)


def inference_of(settings: Settings) -> VllmInference:
    """The models' servers."""
    return VllmInference(settings.first_token_timeout.total_seconds(), settings.token_timeout.total_seconds())
