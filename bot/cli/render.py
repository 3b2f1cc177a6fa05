"""`python -m bot render deploy MODEL [key=value…]`: the manifests of a deployment, without a cluster."""

from datetime import UTC, datetime
from secrets import token_urlsafe
from zoneinfo import ZoneInfo

import yaml

from bot.app import wiring
from bot.app.engines import ENGINE
from bot.app.settings import Settings
from bot.cli.login import login
from bot.cli.shell import BAD_INPUT, OK, asks_for_help, complain, explain, read_arguments, speaker
from bot.cluster.manifests import ApiKey, workload_objects
from bot.commands.deploy import Deploy
from bot.core.chat.duration import end_time
from bot.core.chat.errors import UserError
from bot.core.chat.text import t
from bot.core.deployment.names import object_name, valid_name
from bot.core.deployment.record import Record
from bot.core.fit.planning import spec_of
from bot.grammar.command import by_word
from bot.grammar.plan_replies import refuse

TYPED = "python -m bot render"
"""What stands before the verb."""


def render(words: list[str], settings: Settings) -> int:
    """`render deploy MODEL [key=value…]`: the manifests on stdout; BAD_INPUT if there are none."""
    say = speaker(settings)
    if asks_for_help(words):
        explain(Deploy, TYPED, say)
        return OK
    try:
        asked = _asked(words, settings)
        planner = wiring.planner(settings)
        verdict = planner.judge(asked.request())
        if not verdict.fits:
            raise refuse(verdict, asked, planner.gpu)
        name = valid_name((asked.name or verdict.option.entry.key).lower())
    except UserError as error:
        complain(error, say)
        return BAD_INPUT
    now, user = datetime.now(UTC), login()
    ends = end_time(now, asked.ttl, ZoneInfo(settings.timezone)) if asked.ttl else None
    record = Record(
        owner=user,
        owner_name=user,
        start_requested_at=now,
        lease_ends_at=ends,
        idle_window=asked.idle,
        office_hours=asked.hours or "",
    )
    spec = spec_of(verdict.option, name, asked.replicas, asked.shape)
    given = wiring.workload_settings(settings)
    key = ApiKey(object_name(name), given.api_key or token_urlsafe())
    objects = workload_objects(spec, record, given, ENGINE, key)
    print(yaml.safe_dump_all(objects.values(), sort_keys=False, allow_unicode=True), end="")
    return OK


def _asked(words: list[str], settings: Settings) -> Deploy:
    known = {Deploy.verb: Deploy}
    if not words or words[0].lower() not in by_word(known):
        usage = t("slip.usage", usage=f"{TYPED} {Deploy.usage()}")
        raise UserError(t("render.knows", verbs=list(known)), lines=(usage,))
    return read_arguments(words, Deploy, settings)
