import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from flows import reporter
from flows.console import program


@pytest.mark.parametrize("width", [80, 120])
def test_a_long_summary_leaves_the_stage_its_name(monkeypatch, width):
    """Where there is no terminal the last state of the bar is printed, whole: stage, counts, and every word."""
    printed = io.StringIO()
    monkeypatch.setattr(reporter, "console", lambda: Console(width=width, file=printed))
    line = "multimodal-sample version 12 (challenger, champion): val score 0.7543 beats 0.7423 of champion version 11"
    with reporter.StageReporter("register", "no earlier result", None) as report:
        report.finish(line)
    words = printed.getvalue().split()
    assert words[0] == "register"
    assert "1/1" in words
    assert [word for word in words if word in line.split()] == line.split()


def test_a_note_is_a_line_above_the_bar(monkeypatch):
    """What the stage found out stays to be read; square brackets in it are text."""
    printed = io.StringIO()
    monkeypatch.setattr(reporter, "console", lambda: Console(width=80, file=printed))
    with reporter.StageReporter("ingest", "no earlier result", None) as report:
        report.note("books [old]: text (recognised)")
        report.finish("done")
    first, *_ = printed.getvalue().splitlines()
    assert first.split() == ["ingest", "books", "[old]:", "text", "(recognised)"]


def test_programs_of_the_environment_are_named_so_that_a_shell_finds_them(monkeypatch):
    """By name where the environment is active, by path where it is not."""
    folder = Path(sys.executable).parent
    monkeypatch.setenv("PATH", str(folder))
    assert program("prefect") == "prefect"
    monkeypatch.setenv("PATH", "")
    assert program("prefect").endswith("bin/prefect")
