"""The trials of a sweep: asked of Optuna, told to it, and kept in a SQLite file so that the same command goes on.

A trial that an interrupted process left open is closed, and its values are the first to be tried again: its training
resumes from its checkpoint. What is drawn depends on the seed and on the trials so far, never on how often the sweep
was interrupted.

Reference: T. Akiba et al. 2019, "Optuna: A Next-generation Hyperparameter Optimization Framework".
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from multimodal.errors import MultimodalError
from multimodal.sweep.options import Dimension, SweepOptions, Value, override
from multimodal.tracking import file_lock

STUDY, LOCK = "study.db", "sweep.lock"
END, REASON, MINUTES, RUN_ID, CONTINUES = "end", "reason", "minutes", "run_id", "continues"
"""What is noted with a trial; one without an end was interrupted."""

End = Literal["complete", "pruned", "failed"]


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """A trial that ended.

    Args:
        number: in the order of the sweep.
        end: `complete`, `pruned` (stopped early: it fell behind the others) or `failed`.
        score: best sampled val score; of a pruned trial the best one until then; None of a failed one.
        params: key -> value.
        curve: optimiser step -> sampled val score.
        minutes: spent in training.
        reason: why it was pruned or failed.
        run_id: its MLflow run.
    """

    number: int
    end: End
    score: float | None
    params: dict[str, Value]
    curve: dict[int, float]
    minutes: float
    reason: str
    run_id: str


class SweepTrial:
    """A trial that is under way.

    Args:
        study, trial: Optuna's.
        params: key -> value.
        prune: whether `report` may stop it.
    """

    def __init__(self, study: optuna.Study, trial: Trial, params: Mapping[str, Value], prune: bool) -> None:
        self.number: int = trial.number
        self.params = dict(params)
        self.continues: int | None = trial.user_attrs.get(CONTINUES)
        self._study, self._trial, self._prune = study, trial, prune
        self._curve: dict[int, float] = {}

    @property
    def overrides(self) -> list[str]:
        """The values as `key.sub=value`."""
        return [override(key, value) for key, value in self.params.items()]

    def note_run(self, run_id: str) -> None:
        """Note the trial's MLflow run."""
        self._trial.set_user_attr(RUN_ID, run_id)

    def report(self, step: int, score: float, may_prune: bool = True) -> None:
        """Report the sampled score at an optimiser step; one step counts once.

        Raises:
            optuna.TrialPruned: the trial has fallen behind the others.
        """
        if step in self._curve:
            return
        self._curve[step] = score
        self._trial.report(score, step)
        if may_prune and self._prune and self._trial.should_prune():
            raise optuna.TrialPruned(f"score {max(self._curve.values()):.3f} at step {step} is below the median")

    def complete(self, score: float, minutes: float) -> TrialRecord:
        """End the trial with its best sampled score."""
        if not math.isfinite(score):
            return self.fail(f"its score is {score}")
        return self._end("complete", TrialState.COMPLETE, "", minutes, score)

    def prune(self, reason: str, minutes: float) -> TrialRecord:
        """End the trial before its training was done."""
        return self._end("pruned", TrialState.PRUNED, reason, minutes)

    def fail(self, reason: str) -> TrialRecord:
        """End the trial without a score."""
        return self._end("failed", TrialState.FAIL, reason, 0.0)

    def _end(self, end: End, state: TrialState, reason: str, minutes: float, score: float | None = None) -> TrialRecord:
        for name, value in {END: end, REASON: reason, MINUTES: minutes}.items():
            self._trial.set_user_attr(name, value)
        return _record(self._study.tell(self._trial, score, state=state))


class Sweep:
    """The trials of one sweep so far.

    Args:
        folder: of the sweep.
        options: what is tried.
        study: Optuna's.
    """

    def __init__(self, folder: Path, options: SweepOptions, study: optuna.Study) -> None:
        self.folder, self.options, self._study = folder, options, study
        self._base_values = options.base_values()

    @property
    def records(self) -> tuple[TrialRecord, ...]:
        """The trials that ended, in order; interrupted ones are none."""
        return tuple(_record(trial) for trial in self._study.get_trials(deepcopy=False) if END in trial.user_attrs)

    @property
    def remaining(self) -> int:
        """Trials still to be run."""
        return max(0, self.options.trials - len(self.records))

    @property
    def best(self) -> TrialRecord | None:
        """The completed trial with the best score; the earlier one of equals."""
        complete = [record for record in self.records if record.end == "complete"]
        return max(complete, key=lambda record: (record.score or 0.0, -record.number), default=None)

    @property
    def base(self) -> TrialRecord | None:
        """The completed trial of the base's own values, where the space holds them."""
        same = [record for record in self.records if record.end == "complete" and record.params == self._base_values]
        return same[0] if same else None

    @property
    def run_id(self) -> str:
        """The sweep's MLflow run; "" before it has one."""
        return str(self._study.user_attrs.get(RUN_ID, ""))

    def note_run(self, run_id: str) -> None:
        """Note the sweep's MLflow run, for the next process that goes on with the sweep."""
        self._study.set_user_attr(RUN_ID, run_id)

    def ask(self) -> SweepTrial:
        """The next configuration to try."""
        # A sampler per trial: what it draws depends on the trials so far, not on what this process drew before.
        seed = (self.options.seed * 1_000_003 + len(self.records)) % 2**32
        self._study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=self.options.startup_trials)
        trial = self._study.ask()
        params = {key: self._suggest(trial, key, dimension) for key, dimension in self.options.space.items()}
        return SweepTrial(self._study, trial, params, self.options.prune)

    def importances(self) -> dict[str, float]:
        """How much of the score's variance each key explains over the completed trials, the largest first.

        fANOVA over a forest of regression trees (Hutter, Hoos and Leyton-Brown 2014); the values add up to 1. Empty
        where fewer than two completed trials differ in their score.
        """
        complete = [record for record in self.records if record.end == "complete"]
        varied = [key for key in self.options.space if len({repr(record.params[key]) for record in complete}) > 1]
        if len({record.score for record in complete}) < 2 or not varied:
            return {}
        evaluator = FanovaImportanceEvaluator(seed=self.options.seed)
        found = get_param_importances(self._study, evaluator=evaluator, params=varied)
        return {key: float(value) for key, value in found.items() if math.isfinite(value)}

    def _suggest(self, trial: Trial, key: str, dimension: Dimension) -> Value:
        if dimension.choices:
            chosen: Value = trial.suggest_categorical(key, dimension.choices)
            return chosen
        low, high, step = dimension.low, dimension.high, dimension.step
        assert low is not None and high is not None
        whole = isinstance(low, int) and isinstance(high, int) and isinstance(step, int | None)
        if whole and not isinstance(self._base_values[key], float):
            return int(trial.suggest_int(key, int(low), int(high), step=int(step or 1), log=dimension.log))
        return float(trial.suggest_float(key, low, high, step=step, log=dimension.log))

    def recover(self) -> None:
        """Close trials that a dead process left open, and have their values tried first; a new study tries the base."""
        trials = self._study.get_trials(deepcopy=False)
        if not trials and all(self.options.space[key].holds(value) for key, value in self._base_values.items()):
            self._study.enqueue_trial(self._base_values)
        for trial in trials:
            if trial.state is TrialState.RUNNING:
                self._study.tell(trial.number, state=TrialState.FAIL)
                if trial.params:
                    self._study.enqueue_trial(trial.params, user_attrs={CONTINUES: trial.number})


@contextmanager
def open_sweep(folder: Path, options: SweepOptions) -> Iterator[Sweep]:
    """The sweep of a folder, new or gone on with, for this process alone.

    Raises:
        MultimodalError: another process works on it.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(file_lock(folder / LOCK, wait=False))
        except BlockingIOError as error:
            raise MultimodalError(
                f"another process works on the sweep in {folder}; wait for it, or give this one another `name`"
            ) from error
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SQLAlchemy's deprecations, which are Optuna's to heed
            storage = RDBStorage(f"sqlite:///{folder.resolve() / STUDY}")
            stack.callback(storage.engine.dispose)
            pruner = optuna.pruners.MedianPruner(options.startup_trials, options.warmup_steps)
            study = optuna.create_study(
                storage=storage, study_name=options.name, direction="maximize", pruner=pruner, load_if_exists=True
            )
        sweep = Sweep(folder, options, study)
        sweep.recover()
        yield sweep


def _record(trial: FrozenTrial) -> TrialRecord:
    notes: dict[str, Any] = trial.user_attrs
    curve = dict(sorted(trial.intermediate_values.items()))
    score = {"complete": trial.value, "pruned": max(curve.values(), default=None)}.get(notes[END])
    return TrialRecord(
        trial.number,
        notes[END],
        score,
        dict(trial.params),
        curve,
        float(notes.get(MINUTES, 0.0)),
        str(notes.get(REASON, "")),
        str(notes.get(RUN_ID, "")),
    )
