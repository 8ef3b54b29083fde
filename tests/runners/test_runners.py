"""Threads and worker processes; tests/runners/test_cluster.py is about Ray."""

import pytest
from pydantic import ValidationError

from multimodal.encoders.options import EncodeOptions
from multimodal.errors import ConfigError, MediaError, MultimodalError, RunnerError
from multimodal.runners import RunnerOptions, run
from multimodal.runners.work import DEATHS
from tests.runners.works import Squares, make_failing, make_refusing

KINDS = ("threads", "processes")


@pytest.mark.parametrize("kind", KINDS)
def test_every_item_is_done_once(kind, tmp_path):
    """Each number comes back with its own result, by no more workers than were asked for."""
    done = list(run(RunnerOptions(kind=kind, workers=2), Squares(tmp_path), range(20)))
    assert sorted(done) == [(number, number * number) for number in range(20)]
    assert 1 <= len(list(tmp_path.glob("made-*"))) <= 2


def test_no_items_no_workers(tmp_path):
    """Nothing is started for nothing."""
    assert list(run(RunnerOptions(kind="processes"), Squares(tmp_path), [])) == []
    assert list(tmp_path.iterdir()) == []


def test_a_dead_process_costs_a_repetition(tmp_path):
    """What was under way when a worker died is done again, and nothing twice for the one who asks."""
    done = list(run(RunnerOptions(kind="processes", workers=1), Squares(tmp_path, deaths=1), range(6)))
    assert sorted(done) == [(number, number * number) for number in range(6)]
    assert len(list(tmp_path.glob("made-*"))) == 2


def test_workers_that_die_again_and_again_end_the_work(tmp_path):
    """After the other items are done, with the cure."""
    done = []
    with pytest.raises(RunnerError, match=r"died 4 times, .* with 1 items? to do.*lower the batch size"):
        for number, _ in run(RunnerOptions(kind="processes", workers=1), Squares(tmp_path, deaths=99), range(4)):
            done.append(number)
    assert done == [0, 1, 2] and len(list(tmp_path.glob("dead-*"))) == DEATHS + 1


@pytest.mark.parametrize("kind", KINDS)
def test_typed_errors_arrive_as_they_are(kind):
    """What a worker finds wrong with the configuration is said in its own words."""
    with pytest.raises(ConfigError, match=r"^no weights here$"):
        list(run(RunnerOptions(kind=kind, workers=1), make_refusing, [1]))


def test_defects_arrive_with_their_trace():
    """An error that is not ours, and one that pickle cannot rebuild, become one of one line, the trace its note."""
    with pytest.raises(RunnerError, match=r"ZeroDivisionError: division of 1 by 0$") as failed:
        list(run(RunnerOptions(kind="processes", workers=1), make_failing, [0]))
    assert "works.py" in failed.value.__notes__[0]
    with pytest.raises(MultimodalError, match="it shouts") as found:
        list(run(RunnerOptions(kind="processes", workers=1), make_failing, [1]))
    assert isinstance(found.value, RunnerError | MediaError)


def test_a_runner_may_be_named_by_its_kind():
    """`runner: ray` is the short form; Ray Client is refused with what to do instead."""
    assert EncodeOptions(runner="ray").runner == RunnerOptions(kind="ray")
    assert EncodeOptions().runner.kind == "threads"
    with pytest.raises(ValidationError, match="ray job submit"):
        RunnerOptions(kind="ray", address="ray://head:10001")
    with pytest.raises(ValidationError, match="kind"):
        EncodeOptions(runner="dask")
