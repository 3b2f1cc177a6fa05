"""The grammar: many ways to say it, and a clear sentence for what is none of them."""

from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bot.commands import COMMANDS
from bot.commands.ask import Ask
from bot.commands.deploy import Deploy
from bot.commands.logs import Logs
from bot.commands.stop import Stop
from bot.core.chat.errors import UserError
from bot.core.chat.languages import VERBS
from bot.core.fit.gpu import Quantization
from bot.grammar.command import Command, by_word
from bot.grammar.parsing import parse as parse_line

NAMES = {"model": ["llama-3-8b", "llama3", "qwen2.5-7b"], "workload": ["llama-3-8b", "my-qwen"]}


def parse(text: str) -> Command:
    return parse_line(text, COMMANDS, NAMES.__getitem__)


def refused(text: str) -> UserError:
    with pytest.raises(UserError) as caught:
        parse(text)
    return caught.value


@pytest.mark.parametrize(
    "line",
    [
        "deploy llama-3-8b tp=2 quant=gptq",
        "/llm deploy llama-3-8b tp=2 quant=gptq",
        "  /LLM   Deploy llama-3-8b TP=2 QUANT=GPTQ",
        "deploy tp=2 quant=gptq llama-3-8b",
        "deploy llama-3-8b --tp 2 --quant=gptq",
        "deploy llama-3-8b --tp=2 --quant gptq",
        "deploy llama-3-8b —tp 2 –quant=gptq",
        'deploy "llama-3-8b" tp="2" --quant "gptq"',
        "deploy “llama-3-8b” tp=’2’ quant=‚gptq‘",
        "deploy model=llama-3-8b tensor-parallel-size=2 quantization=gptq",
        "deploy llama-3-8b 2 gptq",
        "deploy\nllama-3-8b\ttp=2\n quant=gptq",
    ],
)
def test_many_ways_to_say_it(line: str) -> None:
    assert parse(line) == Deploy(model="llama-3-8b", tensor_parallel_size=2, quantization=Quantization.GPTQ)


@pytest.mark.parametrize(
    ("option", "field", "value"),
    [
        ("max-len=8k", "max_model_len", 8192),
        ("max-len=1.5K", "max_model_len", 1536),
        ("max-len=4096", "max_model_len", 4096),
        ("util=0.85", "gpu_memory_utilization", 0.85),
        ("util=85%", "gpu_memory_utilization", 0.85),
        ("util=0,85", "gpu_memory_utilization", 0.85),
        ("ttl=4h", "ttl", timedelta(hours=4)),
        ("ttl=90m", "ttl", timedelta(minutes=90)),
        ("ttl=1h30m", "ttl", timedelta(minutes=90)),
        ("ttl=2d", "ttl", timedelta(days=2)),
    ],
)
def test_units(option: str, field: str, value: float | timedelta) -> None:
    assert getattr(parse(f"deploy x {option}"), field) == value


def test_the_question_is_left_as_it_is() -> None:
    line = 'ask llama-3-8b what\'s  "so"\n  special about a=b — or “tp=2”?'
    assert parse(line) == Ask(text=line.removeprefix("ask "))


@pytest.mark.parametrize(
    "line",
    [
        'ask temp=0.2 top-p=0.9 max-tokens=400 system="be brief" llama-3-8b hi there',
        'ask llama-3-8b temp=0.2 top-p=0.9 max-tokens=400 system="be brief" hi there',
        "ask --temp=0.2 llama-3-8b TOP-P=0.9 max-tokens=400 system=“be brief” hi there",
    ],
)
def test_options_stand_before_or_after_the_first_word_of_a_question(line: str) -> None:
    asked = parse(line)
    assert asked == Ask(
        temperature=0.2, top_p=0.9, max_tokens=400, system="be brief", text="llama-3-8b hi there"
    )


def test_an_alias_is_another_word_for_its_verb() -> None:
    assert parse("/llm Delete my-qwen --sure") == Stop(name="my-qwen", sure=True)
    assert [button.command for button in refused("delte my-qwen").buttons] == ["stop my-qwen"]
    words = [word for command in COMMANDS.values() for word in (command.verb, *command.aliases)]
    assert sorted(by_word(COMMANDS)) == sorted([*words, *VERBS])  # no word means two commands


def test_words_of_a_language_are_other_words_for_their_verbs() -> None:
    assert parse("/llm Lösche my-qwen --sure") == Stop(name="my-qwen", sure=True)
    assert parse("hilfe") == parse("help")


def test_flags_and_positions() -> None:
    assert parse("stop llama-3-8b --sure") == Stop(name="llama-3-8b", sure=True)
    assert parse("stop llama-3-8b sure=yes") == Stop(name="llama-3-8b", sure=True)
    assert parse("logs llama-3-8b 200") == Logs(name="llama-3-8b", lines=200)
    assert parse("").verb == "help" and parse("/llm").verb == "help"


@pytest.mark.parametrize(
    ("line", "says", "instead"),
    [
        ("depoly lama-3-8b tp=to", "slip.verb_meant", "deploy llama-3-8b tp=2"),
        ("wekce", "slip.verb_meant", "help wake"),
        ("fly me to the moon", "slip.verb", "help"),
        ("deploy llama-3-8b tpp=2", "slip.option", "deploy llama-3-8b tp=2"),
        ("deploy llama-3-8b hours=9to5", "slip.hours", 'deploy llama-3-8b hours="mo-fr 8-20"'),
        ("deploy llama-3-8b idle=5m", "slip.window", "deploy llama-3-8b idle=2h"),
        ("keep my-qwen 25:00", "slip.time", "keep my-qwen"),
        ("deploy llama-3-8b --frobnicate 2", "slip.option", "deploy llama-3-8b"),
        ("deploy lama-3-8b tp=x", "slip.number", "deploy llama-3-8b tp=2"),
        ("deploy llama-3-8b tp=0", "slip.at_least", "deploy llama-3-8b tp=2"),
        ("deploy llama-3-8b util=7", "slip.at_most", "deploy llama-3-8b"),
        ("deploy llama-3-8b quant=gtpq", "slip.choice", "deploy llama-3-8b quant=gptq"),
        ("alerts silnce", "slip.choice", "alerts"),
        ("deploy llama-3-8b max-len=lots", "slip.tokens", "deploy llama-3-8b max-len=8192"),
        ("deploy llama-3-8b ttl=soon", "slip.duration", "deploy llama-3-8b ttl=4h"),
        ("deploy llama-3-8b util=x", "slip.share", "deploy llama-3-8b"),
        ("deploy llama-3-8b tp=2 tp=4", "slip.twice", None),
        ("deploy", "slip.missing", None),
        ("stop my-qwem now then", "slip.surplus", "stop my-qwen"),
        ("stop llama-3-8b sure=perhaps", "slip.yes_or_no", "stop llama-3-8b"),
        ("ask", "slip.missing", None),
        ("ask temp=3 hi", "slip.at_most", "ask temp=0.2 hi"),
        ("ask top-p=0 hi", "slip.above", "ask top-p=0.9 hi"),
    ],
)
def test_slips(line: str, says: str, instead: str | None) -> None:
    error = refused(line)
    assert error.text.key == says
    assert [button.command for button in error.buttons] == ([instead] if instead else [])
    if instead:
        parse(instead)


@given(st.text(max_size=10_000))
@example("ask " + "system=" * 900)
@example("deploy " + '"' * 9_990)
@example("deploy " + "'a " * 3_300)
@example('deploy tp="' + "a=" * 4_900)
@example("deploy " + "—" * 9_990)
@example("x" * 10_000)
@settings(max_examples=400)
def test_any_text_is_a_command_or_a_sentence(text: str) -> None:
    for line in (text, f"deploy {text}", f"ask {text}", f"stop {text}"):
        try:
            assert isinstance(parse(line), Command)
        except UserError as error:
            for button in error.buttons:
                assert isinstance(parse(button.command), Command)


WORDS = st.sampled_from(
    [
        "deploy",
        "ask",
        "llama-3-8b",
        "tp=2",
        "--tp",
        "2",
        "quant=",
        "=x",
        "“",
        '"',
        "—tp",
        "name=a",
        "\n",
        "ttl=4h",
    ]
)


@given(st.lists(WORDS, max_size=12))
@settings(max_examples=400)
def test_any_mix_of_its_own_words_is_a_command_or_a_sentence(words: list[str]) -> None:
    with suppress(UserError):
        parse(" ".join(words))


@pytest.mark.parametrize("command", COMMANDS.values(), ids=lambda command: command.verb)
def test_every_example_of_help_is_a_command_and_can_be_said_again(command: type[Command]) -> None:
    for line in command.examples:
        understood = parse(line)
        assert isinstance(understood, command)
        assert parse(understood.line()) == understood
