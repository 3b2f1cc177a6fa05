"""What happens to every request: parse, authorise, run, and explain what went wrong."""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from time import perf_counter

import structlog

from bot.core.chat.errors import Bug, OutcomeUnknown, UserError, refusal
from bot.core.chat.message import Message
from bot.core.chat.reply import Reply, Tone
from bot.core.chat.text import t
from bot.core.counters import COMMANDS
from bot.grammar.command import Command, Context, Replies, Services
from bot.grammar.forms import form_of
from bot.grammar.free_text import understand
from bot.grammar.parsing import Missing, parse

log = structlog.get_logger()


class Dispatcher:
    """Runs the commands that people type or click. `commands` are those that exist, by verb."""

    def __init__(self, services: Services, commands: Mapping[str, type[Command]]) -> None:
        self._services = services
        self._commands = commands

    async def handle(self, message: Message) -> Replies:
        """The replies to a message; each replaces the one before. The caller sends back the id of the message
        that a reply was posted as.

        It raises nothing: a UserError becomes a refusal, and a bug is logged under an id that the person
        sees."""
        verb, outcome, started = "?", "cancelled", perf_counter()
        try:
            command = self._read(message)
            verb = command.verb
            self._authorise(message, command)
            context = Context(message.user, message.place, self._services, self._commands)
            async with aclosing(command.run(context)) as replies:
                sent: str | None = None
                while (reply := await _next(replies, sent)) is not None:
                    sent = yield reply
            outcome = "done"
        except UserError as error:
            outcome = "unknown" if isinstance(error, OutcomeUnknown) else "refused"
            async for reply in self._explained(error):
                yield reply
        except Exception:
            outcome, bug = "bug", Bug()
            log.exception("command.failed", verb=verb, user=message.user.id, id=bug.id)
            yield bug.reply
        finally:
            COMMANDS.labels(verb, outcome, message.place.platform).inc()
            took = round(perf_counter() - started, 3)
            log.info("command.done", verb=verb, user=message.user.id, outcome=outcome, seconds=took)

    def _read(self, message: Message) -> Command:
        names = self._services.names
        line = understand(message.text, self._commands, names) if message.free else message.text
        return parse(line, self._commands, names)

    def _authorise(self, message: Message, command: Command) -> None:
        """UserError unless the person's role allows it; also if a clicked button was shown for a deployment
        that is gone, even if there is another one of its name."""
        self._services.access.require(message.user, command.needs)
        about = message.about
        if about and about not in [workload.identity for workload in self._services.cluster.workloads()]:
            raise UserError(t("error.stale", name=about.partition("@")[0]))

    async def _explained(self, error: UserError) -> AsyncIterator[Reply]:
        """The refusal; or that nobody knows whether it was done, and then what came of it."""
        if not isinstance(error, OutcomeUnknown):
            yield self._refusal(error)
            return
        yield Reply(error.text, Tone.LOADING, lines=(t("error.looking"),), private=True)
        done = await error.look()
        key = {True: "error.was_done", False: "error.not_done", None: "error.still_unknown"}[done]
        yield Reply(t(key), Tone.READY if done else Tone.FAILED, private=True)

    def _refusal(self, error: UserError) -> Reply:
        form = None
        if isinstance(error, Missing) and error.command.form:
            form = form_of(error.command, error.arguments, self._services, self._commands)
        return refusal(error, form=form, private=True)


async def _next(replies: Replies, sent: str | None) -> Reply | None:
    """The next reply; None at the end. `sent` is the id of the message that the last one was posted as."""
    try:
        return await replies.asend(sent)
    except StopAsyncIteration:
        return None
