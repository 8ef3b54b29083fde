"""Gathers what is measured while rows are settled; the histograms, flags and values are stored beside the ledger.

ledger/<fp>/measures-<modality>.parquet   every measured value        (`measure_table`)
ledger/<fp>/flags-*.parquet               samples that stand out      (`outliers`)
ledger/<fp>/profile.json                  histograms, counts of flags (`profile`)
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from multimodal.ingest.histograms import histograms
from multimodal.ingest.languages import language_code
from multimodal.ingest.measure_table import MeasureTable, measures_path
from multimodal.ingest.measures import Measures
from multimodal.ingest.options import CheckOptions
from multimodal.ingest.outliers import FLAG_SCHEMA, Outlier, outliers
from multimodal.ingest.profile import LanguageCount, Profile, write_profile
from multimodal.ingest.refs import MediaRef
from multimodal.parts import PartWriter
from multimodal.sample import Modality

File = tuple[MediaRef, Modality]


class Profiler:
    """What was measured of each file once and of each row's text, and which kept samples it belongs to.

    Samples go by their number in the order in which they were kept.
    """

    def __init__(self, checks: CheckOptions) -> None:
        self._checks = checks
        self._tables = {modality: MeasureTable(modality) for modality in Modality}
        self._files: dict[File, int] = {}
        # Which sample has which entry: columns of numbers, since there may be millions.
        self._samples = {modality: (array("I"), array("I")) for modality in Modality}
        self._num_kept = 0
        self._refused: frozenset[int] = frozenset()

    def add_media(self, file: File, measures: Mapping[str, float]) -> None:
        """A file was decoded, well or as far as `measures` go."""
        if measures:
            self._files[file] = self._tables[file[1]].add(measures)

    def add_row(self, text: Measures, files: Iterable[File], is_kept: bool) -> None:
        """A row was settled.

        Args:
            text: what was measured of its target text.
            files: that it names.
            is_kept: whether it became a sample.
        """
        entries = [(file[1], self._files[file]) for file in files if file in self._files]
        if text:
            entries.append((Modality.TEXT, self._tables[Modality.TEXT].add(text)))
        for modality, entry in entries:
            self._tables[modality].count(entry, is_kept)
            if is_kept:
                numbers, of_samples = self._samples[modality]
                numbers.append(self._num_kept)
                of_samples.append(entry)
        self._num_kept += is_kept

    def refuse_outliers(self, sample_id: Callable[[int], str]) -> dict[str, Outlier]:
        """Samples beyond `max_robust_z`, each with its furthest feature; called once, after the last row.

        Args:
            sample_id: number of a kept sample -> its id.
        """
        if self._checks.max_robust_z is None:
            return {}
        found = self._outliers(self._checks.max_robust_z)
        self._refused = frozenset(found)
        return {sample_id(number): each[0] for number, each in found.items()}

    def write(self, ledger: Path, sample_id: Callable[[int], str]) -> None:
        """Store all of it in the folder of the ledger; see `refuse_outliers`."""
        flags = PartWriter(ledger, "flags", FLAG_SCHEMA)
        counts: Counter[str] = Counter()
        threshold = self._checks.flag_robust_z
        flagged = {} if threshold is None else self._outliers(threshold)
        kept = {number: each for number, each in flagged.items() if number not in self._refused}
        for number, each in kept.items():
            for one in each:
                flags.add((sample_id(number), one.feature, one.value, one.z))
                counts[one.feature] += 1
        flags.close()
        self._drop_refused()
        for modality, table in self._tables.items():
            if len(table):
                table.write(measures_path(ledger, modality))
        drawn = tuple(histograms(self._tables, self._checks))
        told = self._languages()
        write_profile(ledger, Profile(drawn, threshold, len(kept), dict(sorted(counts.items())), told))

    def _languages(self) -> dict[str, LanguageCount]:
        """Code -> rows and kept samples of that language, the most frequent first."""
        table = self._tables[Modality.TEXT]
        numbers, rows, kept = table.column("language"), table.rows, table.kept
        told = np.unique(numbers[np.isfinite(numbers)]).tolist()
        counts = {
            language_code(int(one)): LanguageCount(int(rows[numbers == one].sum()), int(kept[numbers == one].sum()))
            for one in told
        }
        return dict(sorted(counts.items(), key=lambda each: (-each[1].rows, each[0])))

    def _outliers(self, threshold: float) -> dict[int, list[Outlier]]:
        """Number of a sample -> its features beyond a threshold, furthest first."""
        by_sample: dict[int, list[Outlier]] = {}
        for modality, table in self._tables.items():
            found = outliers(table, modality, threshold)
            numbers, entries = (np.array(column) for column in self._samples[modality])
            for place in np.flatnonzero(np.isin(entries, list(found))):
                by_sample.setdefault(int(numbers[place]), []).extend(found[int(entries[place])])
        return {number: sorted(each, key=lambda one: -abs(one.z)) for number, each in sorted(by_sample.items())}

    def _drop_refused(self) -> None:
        for modality, (numbers, entries) in self._samples.items():
            for place in np.flatnonzero(np.isin(np.array(numbers), list(self._refused))):
                self._tables[modality].drop(entries[place])
