"""The data card: how many rows came in, what became of them, from which sources and under which licences."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from multimodal.evaluation.decontamination import Decontamination
from multimodal.evaluation.report.check_charts import CheckChart, check_charts
from multimodal.evaluation.report.pair_charts import pair_charts
from multimodal.fingerprint import read_index
from multimodal.ingest.profile import LanguageCount, read_profile
from multimodal.pairs.filtered import FilteredDataset
from multimodal.sample import Sample, Split

if TYPE_CHECKING:
    from multimodal.dataset import Dataset

_LICENCE_KEYS = ("licence", "license")
LANGUAGES_NAMED = 10


@dataclass(frozen=True, slots=True)
class SourceRow:
    """Kept samples of one source and task by split; `licence` is "" where the source names none."""

    source: str
    task: str
    splits: tuple[int, ...]
    licence: str


@dataclass(frozen=True, slots=True)
class Share:
    """A count and its share of all, in per cent."""

    name: str
    count: int
    share: float


@dataclass(frozen=True, slots=True)
class DataCard:
    """What is known about the data.

    Args:
        fingerprint, digest: of the dataset.
        rows: input rows in all.
        fates: kept, duplicate and quarantined rows.
        reasons: why rows were quarantined, the most frequent first.
        splits: names of the columns of `sources`.
        sources: one row per source and task.
        decontamination: how many evaluated samples train holds too, None where that was not looked for.
        checks: what each check of ingest measured.
        flags: samples that stand out, by modality and feature.
        languages: rows by the language of their texts, where ingest was asked for languages.
        pairs: how well texts go with their contents, by task and split; none where that was not scored.
    """

    fingerprint: str
    digest: str
    rows: int
    fates: tuple[Share, ...]
    reasons: tuple[Share, ...]
    splits: tuple[str, ...]
    sources: tuple[SourceRow, ...]
    decontamination: Decontamination | None
    checks: tuple[CheckChart, ...] = ()
    flags: tuple[Share, ...] = ()
    languages: tuple[Share, ...] = ()
    pairs: tuple[CheckChart, ...] = ()

    @property
    def licences(self) -> bool:
        """Whether any source names a licence."""
        return any(row.licence for row in self.sources)


def data_card(dataset: Dataset, decontamination: Decontamination | None = None) -> DataCard:
    """The data card of a dataset on disk."""
    info, samples = dataset.info, dataset.samples()  # without what pair scores leave out
    counts = info.counts
    profile = read_profile(info.ledger)
    fates = {"kept": counts.kept, "duplicate": counts.duplicate, "quarantined": counts.quarantined}
    return DataCard(
        fingerprint=info.fingerprint,
        digest=info.digest,
        rows=counts.rows,
        fates=_shares(fates, counts.rows),
        reasons=_shares(dict(Counter(info.by_reason).most_common()), counts.quarantined),
        splits=tuple(str(split) for split in Split),
        sources=_sources(samples, _configured_licences(dataset)),
        decontamination=decontamination,
        checks=tuple(check_charts(profile.histograms)) if profile else (),
        flags=_shares({name.replace(".", " "): count for name, count in profile.flags.items()}, counts.kept)
        if profile
        else (),
        languages=_languages(profile.languages) if profile else (),
        pairs=tuple(pair_charts(dataset.pairs)) if isinstance(dataset, FilteredDataset) else (),
    )


def _shares(counts: Mapping[str, int], total: int) -> tuple[Share, ...]:
    return tuple(Share(name.replace("_", " "), count, 100 * count / max(1, total)) for name, count in counts.items())


def _languages(told: Mapping[str, LanguageCount]) -> tuple[Share, ...]:
    """The `LANGUAGES_NAMED` most frequent languages, and all others together."""
    total = sum(count.rows for count in told.values())
    first = list(told.items())[:LANGUAGES_NAMED]
    rest = total - sum(count.rows for _, count in first)
    counts = {f"{code}, {count.kept:,} kept": count.rows for code, count in first} | ({"others": rest} if rest else {})
    return _shares(counts, total)


def _sources(samples: Iterable[Sample], configured: Mapping[str, str]) -> tuple[SourceRow, ...]:
    splits: dict[tuple[str, str], Counter[Split]] = defaultdict(Counter)
    licences: dict[tuple[str, str], set[str]] = defaultdict(set)
    for sample in samples:
        key = (sample.source, str(sample.task))
        splits[key][sample.split] += 1
        licences[key].add(_licence(sample) or configured.get(sample.source, ""))
    return tuple(
        SourceRow(*key, tuple(by_split[split] for split in Split), ", ".join(sorted(licences[key] - {""})))
        for key, by_split in sorted(splits.items())
    )


def _licence(sample: Sample) -> str:
    """The licence that a sample's own columns give, "" for none."""
    if not any(key in sample.attributes for key in _LICENCE_KEYS):
        return ""
    return _first_licence(json.loads(sample.attributes))


def _configured_licences(dataset: Dataset) -> dict[str, str]:
    """Licences by source where the ingest configuration names them."""
    parts = (read_index(dataset.path) or {}).get("parts")
    options = parts.get("options") if isinstance(parts, Mapping) else None
    sources = options.get("sources") if isinstance(options, Mapping) else None
    return {source["name"]: _first_licence(source) for source in sources or () if isinstance(source, Mapping)}


def _first_licence(values: Mapping[str, Any]) -> str:
    return next((str(values[key]) for key in _LICENCE_KEYS if values.get(key)), "")
