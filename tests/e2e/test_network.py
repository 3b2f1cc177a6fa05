"""The table of docs/network.md, cell by cell: real connections from inside pods, under enforced policies."""

import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from bot.app.settings import Settings
from bot.cli.render import render
from tests.conftest import eventually
from tests.e2e.network_world import (
    ANOTHER_MODEL,
    MIRROR_PORT,
    MODEL,
    OTHER_PORT,
    STRANGER,
    Cell,
    World,
    world,
)
from tests.real.bot_rights import ROOT, filled_in
from tests.real.cluster import RealCluster

DOCUMENT = (ROOT / "docs" / "network.md").read_text(encoding="utf-8")
ENFORCED = 60.0
"""Seconds that a change of policies may take on a busy machine."""


class Row(NamedTuple):
    """One of the table."""

    to: str
    port: int
    cells: dict[str, str]
    """By who connects: `yes`, `no`, `open` (no with the component), `–` (nobody connects to itself)."""


def table() -> list[Row]:
    lines = [line for line in DOCUMENT.splitlines() if line.startswith("|")]
    heads, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    assert heads[:2] == ["to", "port"]
    return [
        Row(
            to,
            OTHER_PORT if port == "any other" else int(port.split()[0]),
            dict(zip(heads[2:], cells, strict=True)),
        )
        for to, port, *cells in rows
    ]


def promised(*yes: str) -> dict[Cell, bool]:
    """What the table says of each connection, if these words mean yes."""
    cells = {(who, row.to, row.port): said for row in table() for who, said in row.cells.items()}
    assert set(cells.values()) == {"yes", "no", "open", "–"}
    return {cell: said in yes for cell, said in cells.items() if said != "–"}


async def test_who_reaches_whom_is_what_the_table_says(
    real_cluster: RealCluster, tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    rendered = {}
    for name, model in ((MODEL, "tinyllama"), (ANOTHER_MODEL, "qwen2.5-7b")):
        assert render(["deploy", model], settings) == 0
        rendered[name] = capsys.readouterr().out
    with world(real_cluster, rendered) as around:

        def apply(these: str) -> None:
            real_cluster.kubectl("apply", f"--namespace={around.namespace}", "-f", "-", stdin=these)

        await becomes(around, dict.fromkeys(promised(), True))  # nobody is refused by anything else
        apply(policies(real_cluster, tmp_path, egress=False))
        await becomes(around, promised("yes", "open"))
        apply(policies(real_cluster, tmp_path, egress=True))
        mirror = (MODEL, STRANGER, MIRROR_PORT)
        await becomes(around, promised("yes") | {mirror: False})
        apply(example(around.places[STRANGER].namespace))
        await becomes(around, promised("yes") | {mirror: True})


async def becomes(around: World, expected: dict[Cell, bool]) -> None:
    """Policies are in force a moment after they are made; then nothing changes any more."""
    with suppress(TimeoutError):
        await eventually(lambda: around.reached(expected) == expected, ENFORCED)
    seen = around.reached(expected)
    assert {cell: seen[cell] for cell in expected if seen[cell] != expected[cell]} == {}


def policies(cluster: RealCluster, folder: Path, egress: bool) -> str:
    """Those of `kubectl apply -k manifests/bot`, for any namespace."""
    copy = filled_in(folder, "any", "", "any:1", egress)
    built = list(yaml.safe_load_all(cluster.kubectl("kustomize", str(copy))))
    found = [one for one in built if one["kind"] == "NetworkPolicy"]
    for policy in found:
        del policy["metadata"]["namespace"]
    return yaml.safe_dump_all(found)


def example(namespace: str) -> str:
    """The one that the document shows, for a mirror in this namespace."""
    [block] = re.findall(r"^```yaml\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert "name: hub-mirror}" in block
    return str(block).replace("name: hub-mirror}", f"name: {namespace}}}")
