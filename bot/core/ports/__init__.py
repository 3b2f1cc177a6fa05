"""What the services need from the outside world, by subject; adapters and the simulator implement it."""

from bot.core.ports.clock import Clock
from bot.core.ports.cluster import (
    Cluster,
    ClusterReader,
    ClusterWriter,
    Endpoint,
    GpuNode,
    Server,
    WorkloadAccess,
    Workloads,
)
from bot.core.ports.engine import Engine, Progress
from bot.core.ports.inference import Inference, Load, Piece, Sampling
from bot.core.ports.leadership import Gone, Leadership, Work
from bot.core.ports.ledger import Ledger
from bot.core.ports.messenger import Messenger
from bot.core.ports.monitoring import Figures, Monitoring
from bot.core.ports.state_store import StateStore
from bot.core.ports.web_ui import WebUi, WebUiHost

__all__ = [
    "Clock",
    "Cluster",
    "ClusterReader",
    "ClusterWriter",
    "Endpoint",
    "Engine",
    "Figures",
    "Gone",
    "GpuNode",
    "Inference",
    "Leadership",
    "Ledger",
    "Load",
    "Messenger",
    "Monitoring",
    "Piece",
    "Progress",
    "Sampling",
    "Server",
    "StateStore",
    "WebUi",
    "WebUiHost",
    "Work",
    "WorkloadAccess",
    "Workloads",
]
