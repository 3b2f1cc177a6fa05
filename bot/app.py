"""Wiring: settings → adapters → services → platforms. The only file that knows every other."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

from bot import chart
from bot.cluster.manifests import WorkloadSettings
from bot.commands import COMMANDS
from bot.commands.base import Command, Services
from bot.commands.simulate import Breakable, Simulate
from bot.config import Settings
from bot.core.access import Access, Role
from bot.core.catalog import read_catalog
from bot.core.gpu import PROFILES
from bot.core.measures import Monitoring
from bot.core.meters import SWEEP
from bot.core.planning import Planner
from bot.core.ports import Clock, Cluster
from bot.core.text import Phrasebook, t
from bot.dispatch import Dispatcher
from bot.inference import VllmInference
from bot.ledger import Ledger
from bot.platforms.mattermost.people import SYSTEM_ADMIN
from bot.platforms.messengers import Messengers
from bot.services.accounts import Accounts
from bot.services.activity import Activity
from bot.services.addressee import Addressee
from bot.services.alerts import Alerts
from bot.services.conversation import Conversation
from bot.services.crashes import Crashes
from bot.services.incidents import Incidents
from bot.services.lifecycle import Lifecycle
from bot.services.line import Line
from bot.services.proof import Proof
from bot.services.reaper import Reaper
from bot.services.reports import Reports
from bot.services.sleeper import Sleeper
from bot.services.waiting import Waiting
from bot.services.watcher import Watcher
from bot.services.web_ui import WebUiService

ROOT = Path(__file__).parent.parent
MANIFESTS = ROOT / "manifests"


@dataclass(frozen=True, slots=True)
class App:
    """The services of one cluster, and the road to them."""

    dispatcher: Dispatcher
    services: Services
    reaper: Reaper
    line: Line

    @property
    def alerts(self) -> Alerts:
        """What admins are told."""
        return self.services.alerts

    async def sweep(self) -> None:
        """What is due by itself; then admins hear what is wrong, be it that the sweep has failed."""
        try:
            with SWEEP.time():
                await self.reaper.sweep()
        finally:
            await self.alerts.look()


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
    watcher: Watcher,
    clock: Clock,
) -> Alerts:
    incidents = Incidents(cluster, messenger, activity, watcher, clock)
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
    access = _access(settings, operator)
    ledger, plans = Ledger(settings.database_url.get_secret_value()), planner(settings)
    activity = Activity(cluster, inference, clock, settings.idle_policy, monitoring)
    line = Line(cluster, messenger, activity, clock)
    lifecycle = Lifecycle(cluster, access, line, clock, ZoneInfo(settings.timezone))
    proof, crashes = Proof(cluster, inference), Crashes(cluster)
    watcher = Watcher(cluster, messenger, clock, settings.idle_policy, line, proof, crashes)
    addressee = Addressee(cluster, plans.catalog, messenger)
    known = addressee, lifecycle, activity, watcher, Waiting(cluster, messenger, clock)
    conversation = Conversation(cluster, inference, messenger, *known, clock)
    services = Services(
        access,
        activity,
        addressee,
        _alerts(settings, cluster, messenger, activity, watcher, clock),
        clock,
        cluster,
        conversation,
        lifecycle,
        messenger,
        plans,
        _reports(settings, ledger, messenger, clock),
        watcher,
        WebUiService(cluster, access),
    )
    sleeper = Sleeper(cluster, inference, activity)
    accounts = Accounts(cluster, activity, line, crashes, ledger, clock)
    reaper = Reaper(cluster, messenger, activity, sleeper, line, accounts, clock, settings.admin_place)
    return App(Dispatcher(services, _commands(cluster)), services, reaper, line)


def inference_of(settings: Settings) -> VllmInference:
    """The models' servers."""
    return VllmInference(settings.first_token_timeout.total_seconds(), settings.token_timeout.total_seconds())
