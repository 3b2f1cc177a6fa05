"""Wiring: settings → adapters → services → platforms. The only file that knows every other."""

from dataclasses import dataclass
from functools import partial
from zoneinfo import ZoneInfo

from bot import MANIFESTS
from bot.app.application import App
from bot.app.clock import SystemClock
from bot.app.engines import ENGINE
from bot.app.settings import Settings
from bot.cluster.manifests import WorkloadSettings
from bot.commands import COMMANDS
from bot.commands.simulate import Breakable, Simulate
from bot.core.access.roles import Access, Role
from bot.core.bulkhead import Bulkhead
from bot.core.chat.languages import LOCALES
from bot.core.chat.text import Phrasebook, t
from bot.core.fit.catalog import read_catalog
from bot.core.fit.gpu import PROFILES
from bot.core.fit.planning import Planner
from bot.core.ports import Clock, Cluster, Inference, Messenger, Monitoring
from bot.core.supervision import Supervisor
from bot.dispatch import Dispatcher
from bot.engines.vllm.inference import VllmInference
from bot.grammar.command import Command, Services
from bot.observability import chart
from bot.services.deployments.admission import Admission
from bot.services.deployments.gpu_queue import GpuQueue
from bot.services.deployments.lifecycle import Lifecycle
from bot.services.idle.activity import Activity
from bot.services.idle.scale_down import ScaleDown
from bot.services.idle.sweep import Sweep
from bot.services.idle.sweep_actions import SweepActions
from bot.services.operations.alerts import AlertService
from bot.services.operations.incidents import Incidents
from bot.services.operations.reports import Reports
from bot.services.operations.usage_recorder import UsageRecorder
from bot.services.questions.conversation import Conversation
from bot.services.questions.model_selector import ModelSelector
from bot.services.questions.pending_questions import PendingQuestions
from bot.services.startup.card_updater import CardUpdater
from bot.services.startup.progress import StartupProgress
from bot.services.startup.smoke_test import SmokeTest
from bot.services.startup.start_recorder import StartRecorder
from bot.services.web_ui.service import WebUiService
from bot.storage.ledger import SqlLedger


def phrasebook(settings: Settings, clock: Clock | None = None) -> Phrasebook:
    """Every sentence in every language; what is today is said by the clock, the real one without."""
    return Phrasebook(LOCALES, (clock or SystemClock()).now, settings.timezone)


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
        resources=settings.engine_resources,
    )


def _access(settings: Settings, more_admins: frozenset[str]) -> Access:
    return Access(
        {Role.ADMIN: settings.admins | more_admins, Role.RESEARCHER: settings.researchers},
        {Role.STUDENT: settings.student_quota, Role.RESEARCHER: settings.researcher_quota},
    )


def _commands(cluster: Cluster) -> dict[str, type[Command]]:
    """Those that make sense there."""
    breakable = isinstance(cluster, Breakable)
    return {verb: command for verb, command in COMMANDS.items() if verb != Simulate.verb or breakable}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What most services are made of."""

    settings: Settings
    cluster: Cluster
    inference: Inference
    messenger: Messenger
    clock: Clock
    access: Access
    planner: Planner
    activity: Activity
    admission: Admission
    gpu_queue: GpuQueue
    progress: StartupProgress
    bulkhead: Bulkhead
    supervisor: Supervisor


def build(
    settings: Settings,
    cluster: Cluster,
    inference: Inference,
    messenger: Messenger,
    clock: Clock,
    more_admins: frozenset[str] = frozenset(),
    monitoring: Monitoring | None = None,
) -> App:
    """Put the services together. `more_admins` are people and groups who are admins without a setting: the
    person at the terminal, the administrators of a chat server."""
    bulkhead = Bulkhead()
    activity = Activity(cluster, inference, clock, settings.idle_policy, bulkhead, monitoring)
    ledger = SqlLedger(settings.database_url.get_secret_value())
    recorder = UsageRecorder(cluster=cluster, activity=activity, ledger=ledger, clock=clock)
    access = _access(settings, more_admins)
    admission = Admission(cluster, access, clock)
    parts = _Parts(
        settings=settings,
        cluster=cluster,
        inference=inference,
        messenger=messenger,
        clock=clock,
        access=access,
        planner=planner(settings),
        activity=activity,
        admission=admission,
        gpu_queue=GpuQueue(cluster, messenger, activity, clock, recorder.used_last_week, admission, bulkhead),
        progress=StartupProgress(cluster, ENGINE, clock, bulkhead),
        bulkhead=bulkhead,
        supervisor=Supervisor(),
    )
    return _app(parts, recorder, ledger)


def _app(parts: _Parts, recorder: UsageRecorder, ledger: SqlLedger) -> App:
    services = _services(parts, ledger)
    parts.supervisor.add_source(parts.cluster.stalled)
    parts.supervisor.add_source(services.alerts.down)
    return App(
        dispatcher=Dispatcher(services, _commands(parts.cluster)),
        services=services,
        idle_sweep=_sweep(parts),
        gpu_queue=parts.gpu_queue,
        usage_recorder=recorder,
        bulkhead=parts.bulkhead,
        supervisor=parts.supervisor,
        ledger=ledger,
    )


def _services(parts: _Parts, ledger: SqlLedger) -> Services:
    """All that commands use."""
    lifecycle = Lifecycle(
        cluster=parts.cluster,
        access=parts.access,
        admission=parts.admission,
        gpu_queue=parts.gpu_queue,
        clock=parts.clock,
        zone=ZoneInfo(parts.settings.timezone),
    )
    model_selector = ModelSelector(parts.cluster, parts.planner.catalog, parts.messenger)
    pending_questions = PendingQuestions(parts.cluster, parts.messenger, parts.clock, parts.bulkhead)
    alerts = _alerts(parts)
    return Services(
        access=parts.access,
        activity=parts.activity,
        model_selector=model_selector,
        alerts=alerts,
        clock=parts.clock,
        cluster=parts.cluster,
        conversation=_conversation(parts, lifecycle, model_selector, pending_questions),
        lifecycle=lifecycle,
        messenger=parts.messenger,
        planner=parts.planner,
        reports=_reports(parts, ledger, alerts),
        card_updater=_card_updater(parts),
        pending_questions=pending_questions,
        progress=parts.progress,
        web_ui=WebUiService(parts.cluster, parts.cluster, parts.access, parts.bulkhead),
    )


def _alerts(parts: _Parts) -> AlertService:
    incidents = Incidents(
        cluster=parts.cluster,
        messenger=parts.messenger,
        activity=parts.activity,
        bulkhead=parts.bulkhead,
        down=parts.supervisor.down,
        gpus_per_node=parts.planner.gpu.per_node,
        clock=parts.clock,
    )
    return AlertService(
        cluster=parts.cluster,
        store=parts.cluster,
        messenger=parts.messenger,
        incidents=incidents,
        clock=parts.clock,
        admins=parts.settings.admin_place,
        bulkhead=parts.bulkhead,
    )


def _reports(parts: _Parts, ledger: SqlLedger, alerts: AlertService) -> Reports:
    """Its chart speaks the language of the place where admins read."""
    settings = parts.settings
    say, language = phrasebook(settings).say, settings.language
    labels = [say(t(f"report.{part}"), language) for part in ("busy", "idle", "free", "unit")]
    return Reports(
        ledger=ledger,
        messenger=parts.messenger,
        draw=partial(chart.draw, labels=labels[:3], unit=labels[3], language=language),
        clock=parts.clock,
        zone=ZoneInfo(settings.timezone),
        admins=settings.admin_place,
        alerts=alerts,
    )


def _conversation(
    parts: _Parts,
    lifecycle: Lifecycle,
    model_selector: ModelSelector,
    pending_questions: PendingQuestions,
) -> Conversation:
    return Conversation(
        cluster=parts.cluster,
        inference=parts.inference,
        messenger=parts.messenger,
        model_selector=model_selector,
        lifecycle=lifecycle,
        activity=parts.activity,
        progress=parts.progress,
        pending_questions=pending_questions,
        clock=parts.clock,
    )


def _card_updater(parts: _Parts) -> CardUpdater:
    return CardUpdater(
        cluster=parts.cluster,
        messenger=parts.messenger,
        clock=parts.clock,
        policy=parts.settings.idle_policy,
        gpu_queue=parts.gpu_queue,
        progress=parts.progress,
        smoke_test=SmokeTest(parts.cluster, parts.inference),
        start_recorder=StartRecorder(parts.cluster, ENGINE, parts.clock),
        gpus_per_node=parts.planner.gpu.per_node,
        bulkhead=parts.bulkhead,
    )


def _sweep(parts: _Parts) -> Sweep:
    actions = SweepActions(
        cluster=parts.cluster,
        messenger=parts.messenger,
        scale_down=ScaleDown(parts.cluster, parts.inference, parts.activity, parts.clock),
        gpu_queue=parts.gpu_queue,
        admission=parts.admission,
        policy=parts.settings.idle_policy,
        clock=parts.clock,
        admins=parts.settings.admin_place,
    )
    return Sweep(
        cluster=parts.cluster,
        activity=parts.activity,
        gpu_queue=parts.gpu_queue,
        admission=parts.admission,
        actions=actions,
        bulkhead=parts.bulkhead,
        policy=parts.settings.idle_policy,
        clock=parts.clock,
    )


def inference_of(settings: Settings) -> VllmInference:
    """The models' servers."""
    return VllmInference(settings.first_token_timeout.total_seconds(), settings.token_timeout.total_seconds())
