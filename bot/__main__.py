"""The command line: run · demo · doctor · mattermost-setup · plan · render · diagnose."""

import argparse
import asyncio
import logging
import signal
import sys
from types import FrameType
from typing import Any

import structlog

from bot.app.settings import PlatformSettingsByName, Settings, WrongSettings, read_settings
from bot.core.chat.characters import visible
from bot.core.chat.errors import UserError

OK, FAILED, BAD_INPUT = 0, 1, 2
"""Exit codes, as in `cli/shell.py`, which loads more than `--help` needs."""


def main(argv: list[str] | None = None) -> int:
    """Do what the command line says; the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    options, words = _parser().parse_known_args(arguments)
    if words and options.command not in ("plan", "render"):
        print(f"unknown: {' '.join(words)} (see --help)", file=sys.stderr)
        return BAD_INPUT
    if options.command == "run":
        signal.signal(signal.SIGTERM, _end)
    try:
        settings, platform_settings = read_settings()
    except WrongSettings as error:
        print("\n".join(error.lines), file=sys.stderr)
        return BAD_INPUT
    quiet = options.command == "demo" or getattr(options, "platform", None) == "console"
    _set_up_logging(logging.ERROR if quiet else logging.INFO)
    try:
        return _run(options, arguments[1:], settings, platform_settings)
    except UserError as error:
        from bot.app import wiring

        print(visible(wiring.phrasebook(settings).say(error.text, settings.language)), file=sys.stderr)
        return FAILED


def _end(_: int, __: FrameType | None) -> None:
    """While the service loads: the first process of a container would not even notice the signal."""
    sys.exit(OK)


def _run(
    options: argparse.Namespace,
    words: list[str],
    settings: Settings,
    platform_settings: PlatformSettingsByName,
) -> int:
    match options.command:
        case "run" | "demo":
            asyncio.run(_serve(options, settings, platform_settings))
            return OK
        case _:
            return _do_once(options, words, settings, platform_settings)


async def _serve(
    options: argparse.Namespace, settings: Settings, platform_settings: PlatformSettingsByName
) -> None:
    from bot.app import run
    from bot.cli.login import login

    if options.command == "demo":
        await run.demo(settings, options.speed, options.user or "you", options.user is None)
    else:
        user, at_terminal = options.user or login(), options.platform == "console"
        await run.run(settings, platform_settings, at_terminal, user, options.user is None)


def _do_once(
    options: argparse.Namespace,
    words: list[str],
    settings: Settings,
    platform_settings: PlatformSettingsByName,
) -> int:
    from bot.cli import diagnose, doctor, mattermost_setup, plan, render

    match options.command:
        case "plan":
            return plan.plan(words, settings)
        case "render":
            return render.render(words, settings)
        case "diagnose":
            return diagnose.diagnose(options.file, options.json, settings)
        case "doctor":
            return asyncio.run(doctor.doctor(settings, platform_settings))
    return asyncio.run(mattermost_setup.mattermost_setup(settings, platform_settings))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bot", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="the service")
    run.add_argument("--platform", choices=["console"], help="talk to the cluster from here")
    demo = commands.add_parser("demo", help="the whole bot here, on a simulated cluster")
    demo.add_argument("--speed", type=_speed, default=1.0, help="times faster than real time")
    for command in (run, demo):
        command.add_argument(
            "--user", help="speak as this person, with the role that settings give (else as admin)"
        )
    commands.add_parser("doctor", help="check settings, cluster and rights")
    commands.add_parser("mattermost-setup", help="make /llm in Mattermost, print the Secret of its tokens")
    for name, what in (
        ("plan", "would a model fit? as in chat, and --gpu --gpu-mem --config --json"),
        ("render", "render deploy MODEL [key=value…]: its manifests as YAML"),
    ):
        commands.add_parser(name, help=what, add_help=False)  # it knows its arguments itself
    diagnose = commands.add_parser("diagnose", help="why a vLLM did not start, from its log")
    diagnose.add_argument("file", nargs="?", default="-", help="the log; standard input without")
    diagnose.add_argument("--json", action="store_true", help="for programs")
    return parser


def _speed(typed: str) -> float:
    speed = float(typed)
    if not 0.1 <= speed <= 10_000:
        raise argparse.ArgumentTypeError("a number from 0.1 to 10000")
    return speed


def _hide_secrets(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {name: _hidden(value) for name, value in event.items()}


def _hidden(value: Any) -> Any:
    """The value without secrets and without what would move a cursor, however deep they are in it."""
    match value:
        case dict():
            return {_hidden(name): _hidden(inner) for name, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_hidden(inner) for inner in value]
        case bool() | int() | float() | None:
            return value
    return _shown(str(value))


def _shown(text: str) -> str:
    from bot.core.failures.redact import redact

    return redact(visible(text))


class _HidingFormatter(logging.Formatter):
    """The lines that libraries log."""

    def format(self, record: logging.LogRecord) -> str:
        """One of them, without secrets."""
        return _shown(super().format(record))


def _set_up_logging(level: int) -> None:
    """On stderr one JSON line per event, or one to read where that is a terminal; prompts are never logged,
    and what looks like a secret is hidden."""
    readable = sys.stderr.isatty()
    render = structlog.dev.ConsoleRenderer() if readable else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _hide_secrets,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_HidingFormatter(logging.BASIC_FORMAT))
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler])


if __name__ == "__main__":
    sys.exit(main())
