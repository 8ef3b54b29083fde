"""Every error that this library raises on purpose.

    MultimodalError
     ├── ConfigError          the configuration is wrong: raised before any work is done
     ├── SourceError          a source cannot be read at all (its bad rows go to the ledger instead)
     │    ├── UnknownSystemError a URL names a file system that nobody knows: trying again does not help
     │    └── UnreachableError a remote file system does not answer: trying again may help
     ├── DatasetError         a dataset, ledger or latent store on disk is absent, incomplete or damaged
     ├── ContaminationError   more of the test split is in train than `ingest.decontamination` allows
     ├── DriftError           a dataset differs from its predecessor by more than the configuration allows
     ├── EncoderError         an encoder cannot be built, or its weights cannot be reached
     ├── CheckpointError      a checkpoint is absent, incomplete or belongs to another configuration
     ├── RunnerError          the workers of a stage died again and again, or their cluster cannot be reached
     ├── RequestError         a prediction was asked for that the model cannot serve
     ├── RegistryError        the model registry does not hold what was asked for
     └── MediaError           one media file cannot be used; carries the typed reason for the ledger

Messages say what happened, show the value, and name the cure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self


class MultimodalError(Exception):
    """Base of all errors raised on purpose; the command line prints its message without a stack trace."""


class ConfigError(MultimodalError):
    """The configuration is wrong; nothing has been done yet."""


class SourceError(MultimodalError):
    """A source cannot be read at all."""


class UnknownSystemError(SourceError):
    """A URL names a file system that nobody knows, or leaves out what it needs."""


class UnreachableError(SourceError, OSError):
    """A remote file system does not answer; an `OSError` too, so that the stage is tried again."""


class DatasetError(MultimodalError):
    """Something on disk is absent, incomplete or damaged."""


class ContaminationError(MultimodalError):
    """More of the test split is in train than `ingest.decontamination` allows."""


class DriftError(MultimodalError):
    """A dataset differs from its predecessor by more than the configuration allows."""


class EncoderError(MultimodalError):
    """An encoder cannot be built, or its weights cannot be reached."""


class CheckpointError(MultimodalError):
    """A checkpoint is absent, incomplete or belongs to another configuration."""


class RunnerError(MultimodalError):
    """The workers of a stage failed, or cannot be had."""


class RequestError(MultimodalError):
    """A prediction was asked for that the model cannot serve."""


class RegistryError(MultimodalError):
    """The model registry does not hold what was asked for."""


class MediaError(MultimodalError):
    """One media file cannot be used.

    Args:
        reason: the typed reason that the ledger records (a value of `multimodal.ingest.Reason`).
        detail: what exactly was found.
        measures: what had been measured of it until then, by name.
    """

    def __init__(self, reason: str, detail: str, measures: Mapping[str, float] | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.measures = dict(measures or {})

    def alone(self) -> Self:
        """This error without the frames that it came through, which keep what they held: texts and bytes of a row."""
        self.__traceback__ = self.__cause__ = self.__context__ = None
        return self
