"""How things are when Prometheus asks: models by phase and verdict, GPUs by state, alerts, who waits."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from bot.app.application import App
from bot.core.deployment.workload import Phase


class Gauges(Collector):
    """Reads what is in memory: a scrape asks the cluster nothing."""

    def __init__(self, app: App) -> None:
        self._app = app

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Every gauge, as of now."""
        services = self._app.services
        workloads, nodes = services.cluster.workloads(), services.cluster.nodes()
        ready = [workload for workload in workloads if workload.phase is Phase.READY]
        phases = {phase.value: 0 for phase in Phase} | Counter(w.phase.value for w in workloads)
        yield _gauge("llm_bot_deployments", "Deployments", "phase", phases)
        verdicts = Counter(services.activity.verdict(workload).state.value for workload in ready)
        yield _gauge("llm_bot_verdicts", "Ready models by what the sweep thinks of them", "verdict", verdicts)
        gpus = Counter({"free": sum(node.free for node in nodes)})
        for node in nodes:
            for holder, count in node.used.items():
                gpus["others" if "/" in holder else "ours"] += count
        yield _gauge("llm_bot_gpus", "GPUs of the cluster", "state", gpus)
        alerts = Counter(alert.kind.value for alert in services.alerts.open())
        yield _gauge("llm_bot_alerts_open", "Open alerts", "kind", alerts)
        waiting = {"line": sum(bool(w.record.queued_since) for w in workloads)}
        waiting["model"] = sum(len(w.record.pending_questions) for w in workloads)
        yield _gauge("llm_bot_waiting", "Deployments in line for GPUs, questions for a model", "for", waiting)


def _gauge(name: str, about: str, label: str, values: dict[str, int]) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(name, about, labels=[label])
    for value, number in values.items():
        gauge.add_metric([value], number)
    return gauge
