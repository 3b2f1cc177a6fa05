"""Writes down how the runs of models ended, with the cause that their logs give."""

from datetime import datetime, timedelta
from typing import Unpack

import structlog

from bot.core.chat.errors import Changed, UserError
from bot.core.counters import STARTS
from bot.core.deployment.ending import GARBLED, Ending
from bot.core.deployment.record import RecordChanges
from bot.core.deployment.start_times import StartTimes, learned
from bot.core.deployment.workload import Phase, Workload
from bot.core.failures.diagnosis import Diagnosis, diagnose
from bot.core.ports import Clock, Cluster, Engine

LINES = 3000
"""Lines at the end of a log in which a cause is searched, or a download."""
TIME_TO_READ = timedelta(seconds=30)
"""From an end until its log has been read, or will not say more."""
NO_CAUSE = ("healthy", "unknown", "probe_killed")
"""Diagnoses that say no more than the cluster does."""

log = structlog.get_logger()


class StartRecorder:
    """Stores in a workload's record how runs of its engine ended, with what their logs show, and when it was
    ready: everybody reads it there, and a restart of the bot forgets nothing. Only the process that leads
    may do so."""

    def __init__(self, cluster: Cluster, engine: Engine, clock: Clock) -> None:
        self._cluster, self._engine, self._clock = cluster, engine, clock

    async def note_end(self, workload: Workload) -> Workload:
        """Store the last end, if it is not stored or its log was not read; then remove pods that have ended,
        which show it. Returns the workload as it is then."""
        end = workload.last_end
        if end and end.number and (end != workload.record.last_end or not end.log_read):
            workload = await self._store(workload, last_end=await self._with_cause(workload, end))
        if workload.last_end != workload.record.last_end:
            return workload  # it has changed meanwhile: the next look tries again
        try:
            await self._cluster.remove_dead_pods(workload.name)
        except UserError as error:
            log.warning("pods.not_removed", workload=workload.name, why=error.text.key)
        return workload

    async def note_ready(self, workload: Workload, nonsense: str) -> Workload:
        """Store that it is ready, or that it runs and its answer was `nonsense`; empty: it was not. Returns
        the workload as it is then."""
        if workload.phase is not Phase.READY:
            return workload
        end = workload.last_end
        if nonsense:
            return await self._note_garbled(workload, nonsense)
        changes: RecordChanges = {"last_nodes": workload.nodes}
        first = workload.record.ready_at is None
        if first:
            changes |= await self._first_ready(workload)
        if end and end.number:
            changes["last_end"] = end.forgiven()
        stored = await self._store(workload, **changes)
        if first and workload.stages and stored.record.start_times != workload.record.start_times:
            STARTS.observe(workload.stages.total)
        return stored

    async def _first_ready(self, workload: Workload) -> RecordChanges:
        """When it was ready, and how long that took if nothing interrupted it."""
        record, times = workload.record, await self._learned(workload)
        changes: RecordChanges = {"ready_at": max(workload.since, record.start_requested_at)}
        if times:
            changes["start_times"] = record.with_start(times)
        return changes

    async def _learned(self, workload: Workload) -> StartTimes | None:
        stages, asked = workload.stages, workload.record.start_requested_at
        if workload.ends or stages is None:
            return None
        try:
            log = await self._cluster.log_of_run(workload.name, stages.run, LINES)
        except UserError:
            return None
        return learned(stages, self._engine.download_seconds(log), asked, self._clock.now())

    async def _note_garbled(self, workload: Workload, answer: str) -> Workload:
        """Store that its server answers nonsense: as long as that one runs, it has failed."""
        servers, before = self._cluster.servers(workload.name), workload.last_end
        if not servers:
            return workload  # it has ended meanwhile
        end = Ending(
            number=before.number + 1 if before else 1,
            run=servers[0].id,
            others=(before.run, *before.others) if before else (),
            at=max(self._clock.now(), workload.since),
            cause=GARBLED,
            evidence=answer,
            log_read=True,
        )
        return await self._store(workload, last_end=end)

    async def _with_cause(self, workload: Workload, end: Ending) -> Ending:
        """The end with what its log says of it, if it can be read."""
        if end.log_read:
            return end
        too_late = self._clock.now() - end.at >= TIME_TO_READ
        try:
            text = await self._cluster.log_of_run(workload.name, end.run, LINES)
        except UserError:
            return end.model_copy(update={"log_read": too_late})
        found = diagnose([text])
        if not text or found.cause in NO_CAUSE:
            evidence = (found.cause == "unknown" and found.evidence) or end.evidence
            return end.model_copy(update={"log_read": bool(text) or too_late, "evidence": evidence})
        return _explained(end, found, workload.record.last_end)

    async def _store(self, workload: Workload, **changes: Unpack[RecordChanges]) -> Workload:
        if workload.record.changed(**changes) == workload.record:
            return workload
        try:
            await self._cluster.update_record(workload.name, workload.version, **changes)
        except Changed:
            pass
        except UserError as error:  # the next change, or look, tries again
            log.warning("start.not_stored", workload=workload.name, why=error.text.key)
        return self._cluster.find(workload.name) or workload


def _explained(end: Ending, found: Diagnosis, before: Ending | None) -> Ending:
    """The end with the cause of its log; if that is the cause of the ends before, with their evidence: the
    lines differ in numbers only, and what is told once need not change."""
    same = before is not None and before.cause == found.cause and before.number
    alike = end.alike
    if before and found.cause != end.cause:
        alike = before.alike + end.number - before.number if same else end.number - before.number
    evidence = (same and before and before.evidence) or found.evidence
    fields = {"cause": found.cause, "evidence": evidence, "alike": max(1, alike), "log_read": True}
    return end.model_copy(update=fields | {"fitting_context": found.fitting_context})


def is_settled(workload: Workload, now: datetime) -> bool:
    """The cause of a failed workload will not become a better one: its log was read, or says nothing."""
    end = workload.last_end
    if workload.phase is not Phase.FAILED or end is None or end.log_read:
        return True
    return now - end.at >= TIME_TO_READ
