"""What stands before a message, and what an exception is."""

import time

import pytest

from bot.core.failures.log_lines import line_at, noteworthy, without_colours

SAID = "RuntimeError: nobody knows this one"


@pytest.mark.parametrize(
    ("before", "process", "level"),
    [
        ("(EngineCore pid=29) ERROR 11-27 10:32:12 [core.py:1510] ", "EngineCore pid=29", "ERROR"),
        ("(EngineCore_0 pid=29) ERROR 2025-11-27 10:32:12,123 [core.py:1] ", "EngineCore_0 pid=29", "ERROR"),
        ("(VllmWorkerProcess pid=7) ERROR 11-27 10:32:12 utils.py:2] ", "VllmWorkerProcess pid=7", "ERROR"),
        ("(VllmWorker rank=1 pid=3) ", "VllmWorker rank=1 pid=3", ""),
        ("(Worker_TP1_EP1 pid=4) WARNING 11-27 10:32:12 [v1/x/y.py:3] ", "Worker_TP1_EP1 pid=4", "WARNING"),
        ("(APIServer pid=1) INFO 11-27 10:32:12 [x.py:3] ", "APIServer pid=1", "INFO"),
        ("(RayWorkerWrapper pid=9, ip=10.0.0.1) [rank0]: ", "RayWorkerWrapper pid=9", ""),
        ("(task, pid=12) ERROR 11-27 10:32:12 core.py:1] ", "task, pid=12", "ERROR"),
        ("[rank0]:[E1127 10:32:12.123 ProcessGroupNCCL.cpp:616] [rank0]: ", "", ""),
        ("ERROR:    ", "", "ERROR"),
        ("ERROR:root:", "", "ERROR"),
        ("2025-11-27 10:32:12,123 - ERROR - ", "", "ERROR"),
        ("2025-11-27 10:32:12,123 - vllm.engine - INFO - ", "", "INFO"),
        ("2026-11-27T10:32:12.123456789Z stdout F (EngineCore pid=29) ", "EngineCore pid=29", ""),
        ("Loading weights:  50%|█████     | 1/2\rERROR 11-27 10:32:12 [x.py:1] ", "", "ERROR"),
    ],
)
def test_what_stands_before_a_message_is_taken_off_and_read(before: str, process: str, level: str) -> None:
    line = line_at(f"{before}{SAID}\n", 0)
    assert (line.message, line.process, line.level) == (SAID, process, level)
    assert line.is_exception and line.is_quiet == (level in ("WARNING", "INFO"))
    assert line_at(f"{before}    raise {SAID}\n", 0).message == f"    raise {SAID}"


@pytest.mark.parametrize(
    ("message", "is_exception", "is_weak"),
    [
        (SAID, True, False),
        ("torch.OutOfMemoryError: CUDA", True, False),
        ("triton.runtime.errors.OutOfResources: out of resource", True, False),
        ("ray.exceptions.RayTaskError(ValueError): ray::f()", True, False),
        ("  Value error, no such thing [type=value_error, input_value=1]", True, False),
        ("  Input should be 'a' or 'b' [type=literal_error, input_value='c', input_type=str]", True, False),
        ("vllm serve: error: argument --x: invalid", True, False),
        ("AssertionError", True, True),
        ("KeyError: 'x'", True, True),
        ("pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig", True, True),
        ("    raise RuntimeError('x')", False, False),
        ("Traceback (most recent call last):", False, False),
        ("an Error: of a sentence", False, False),
    ],
)
def test_an_exception_and_one_that_says_little(message: str, is_exception: bool, is_weak: bool) -> None:
    line = line_at(message, 0)
    assert (line.is_exception, line.is_exception and line.is_weak) == (is_exception, is_weak)


def test_colours_are_taken_off() -> None:
    coloured = "\x1b[0;36m(EngineCore pid=2)\x1b[0;0m \x1b[31mERROR\x1b[0m \x1b[90m11-27 19:06:57\x1b[0m x"
    assert without_colours(coloured) == "(EngineCore pid=2) ERROR 11-27 19:06:57 x"


def test_a_line_is_looked_at_once_in_its_place() -> None:
    text = f"fine\n{SAID} Error Error\nfine\nsaid so\nERROR 11-27 10:00:00 x\n{SAID}"
    lines = list(noteworthy(text, text.rindex(SAID), ("said so",)))
    assert [line.number for line in lines] == [2, 4, 5]


@pytest.mark.parametrize(
    "line",
    [
        "a-" * 150 + "Error",
        "a." * 150 + "Error",
        " " * 600 + "Error [type=",
        "[type=a, " * 100,
        "(a pid=1) " * 60 + "Error",
        "E1127 10:32:12 " * 40 + "Error",
        "a" * 2**20 + "Error" * 1000,
    ],
    ids=lambda line: line[:10],
)
def test_no_line_is_slow_that_was_made_to_be(line: str) -> None:
    text = f"{line}\n" * max(1, 2**20 // len(line))
    begun = time.process_time()
    assert [(found.is_exception, found.is_weak) for found in noteworthy(text, len(text), ())]
    assert time.process_time() - begun < 2.0
