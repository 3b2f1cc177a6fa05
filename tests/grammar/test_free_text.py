"""What people write where it could be a question as well as a command."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.commands import COMMANDS
from bot.grammar.free_text import understand

NAMES = {"model": ["llama-3-8b", "llama3", "qwen2.5-7b"], "workload": ["llama-3-8b", "my-qwen"]}


def read(text: str) -> str:
    return understand(text, COMMANDS, NAMES.__getitem__)


@pytest.mark.parametrize(
    "line",
    [
        "status",
        "Deploy llama-3-8b tp=2",
        "stop my-qwen --sure",
        "delete my-qwen",
        "delet my-qwen",
        "lösche my-qwen",
        "Hilfe",
        "logs my-qwen 200",
        "ask my-qwen what is a lease?",
        "deploy llama-3-8b tp=two",
        "deploy",
        "statsu",
        "depoly llama-3-8b",
        "/llm models of computation",
    ],
)
def test_a_command_or_a_slip_of_one_stays(line: str) -> None:
    assert read(line) == line.removeprefix("/llm").strip()


@pytest.mark.parametrize(
    "line",
    [
        "what is PagedAttention?",
        "help me write a poem",
        "plan a trip to Rome in May",
        "models are wrong, some are useful: who said that?",
        "sleep is good for you, is it?",
        "delete or update: which is slower in SQL?",
        "lösche die letzte Zeile meines Gedichts",
        "step by step, explain attention",
        "hello",
    ],
)
def test_anything_else_is_a_question(line: str) -> None:
    assert read(line) == f"ask {line}"


@given(st.text(max_size=300))
def test_any_text_is_the_one_or_the_other(text: str) -> None:
    line = read(text)
    assert (
        line == "" or line in (text.strip(), f"ask {text.strip()}") or text.strip().lower().startswith("/llm")
    )
