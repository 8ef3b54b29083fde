"""Stage 1: sources -> dataset and ledger."""

from __future__ import annotations

from functools import partial

from prefect import flow, task
from prefect.artifacts import create_table_artifact

from flows.artifacts import Summary
from flows.drift import judge_drift
from flows.ledger import count_table
from flows.reporter import StageReporter
from flows.stage import IO_RETRIES, PIPELINE_RUN, StagePlan, run_stage
from multimodal.config import PipelineConfig
from multimodal.dataset import DatasetInfo
from multimodal.ingest import ingest, plan_ingest, source_kinds
from multimodal.ingest.duplicates.table import duplicates_table
from multimodal.ingest.profile import PROFILE, read_profile

MERKLE_ROOT = "dataset.merkle_root"
"""Tag of the pipeline's run and of the ingest stage's: what the dataset holds, in one digest."""


def plan(config: PipelineConfig) -> StagePlan:
    """What ingest depends on: all files of the sources, its options, the seed, the code."""
    return StagePlan.of(config, "ingest", plan_ingest(config.ingest, config.seed, config.workspace))


@task(name="read, check and split every row", **IO_RETRIES)
def read_sources(config: PipelineConfig, reporter: StageReporter) -> DatasetInfo:
    """Decode every file once; bad rows go to the ledger."""
    reporter.note("; ".join(f"{name}: {kind}" for name, kind in source_kinds(config.ingest).items()))
    return ingest(config.ingest, seed=config.seed, workspace=config.workspace, progress=reporter.progress)


def make_dataset(planned: StagePlan, reporter: StageReporter) -> DatasetInfo:
    """The dataset, judged against its predecessor before it counts as made."""
    info = read_sources(planned.config, reporter)
    reporter.run.log_file(info.ledger / PROFILE)
    judge_drift(planned, info, reporter)
    return info


def log_dataset(config: PipelineConfig, info: DatasetInfo) -> None:
    """Name the dataset on the pipeline's run, whether it was made in this run or before."""
    counts = {"rows": info.counts.rows, "kept": info.counts.kept, "quarantined": info.counts.quarantined}
    if run := PIPELINE_RUN.get():
        run.log_dataset(config.name, info.fingerprint, info.path, counts | {"duplicate": info.counts.duplicate})
        run.set_tags(tags_of(info))


def tags_of(info: DatasetInfo) -> dict[str, str]:
    """What the dataset holds, in one digest; nothing for a dataset that was written before there was one."""
    return {MERKLE_ROOT: info.merkle_root} if info.merkle_root else {}


def describe(info: DatasetInfo) -> Summary:
    """Counts by task, split and reason."""
    counts = info.counts
    table = [{"what": "task", "name": name, "samples": count} for name, count in info.by_task.items()]
    table += [{"what": "split", "name": name, "samples": count} for name, count in info.by_split.items()]
    table += [{"what": "quarantined", "name": name, "samples": count} for name, count in info.by_reason.items()]
    table += duplicates_table(info.ledger)
    profile = read_profile(info.ledger)
    flags = profile.flags if profile else {}
    table += [{"what": "flagged", "name": name, "samples": count} for name, count in flags.items()]
    line = f"{counts.rows:,} rows = {counts.kept:,} kept + {counts.quarantined} quarantined"
    return Summary(
        line=f"{line} + {counts.duplicate} duplicate" + (f", {profile.flagged} flagged" if flags and profile else ""),
        table=table,
        metrics={f"{row['what']}/{row['name']}": float(str(row["samples"])) for row in table},
        details={
            "dataset": info.path,
            "ledger": info.ledger,
            "fingerprint": info.fingerprint,
            "Merkle root": info.merkle_root,
        },
        tags=tags_of(info),
    )


def publish_ledger(info: DatasetInfo) -> None:
    """Counts by source, fate and reason as a table artifact, as `multimodal ledger summary` shows them."""
    create_table_artifact(count_table(info.ledger), key="ingest-ledger", description=describe(info).line)


@flow(name="ingest", validate_parameters=False)
def ingest_flow(config: PipelineConfig) -> DatasetInfo:
    """Make the dataset of a pipeline."""
    planned = plan(config)
    info = run_stage(planned, DatasetInfo, partial(make_dataset, planned), describe)
    publish_ledger(info)
    return info
