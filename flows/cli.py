"""The `multimodal` command. Nothing heavy is imported before a subcommand needs it."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from flows.cli_data import explain, ledger, verify
from flows.cli_latents import latents
from flows.cli_models import models, roll_back
from multimodal.errors import ConfigError, MultimodalError, RequestError
from multimodal.training.torchrun import num_processes, rank

app = typer.Typer(
    help="Turn folders of pictures, sound and text into a model that writes captions and transcripts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
bench = typer.Typer(help="Compare ways to write under equal conditions.", no_args_is_help=True)


Conf = Annotated[Path, typer.Argument(help="A configuration; the project's own are in conf/.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="key.sub=value, each overruling one key of CONF.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would run and why, and run nothing.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show Prefect's log, and stack traces of failures.")]
Workspace = Annotated[Path, typer.Option(help="Folder that holds the runs and the registry.")]


STAGE_COMMANDS = ("run", "ingest", "encode", "train", "evaluate", "register")


def main() -> None:
    """Run the command line; a failure is one line on stderr and an exit code (2: wrong use, 1: anything else)."""
    try:
        app()
    except MultimodalError as error:
        if _verbose():
            traceback.print_exc()
        _complain(str(error))
        sys.exit(2 if isinstance(error, ConfigError) else 1)


def _verbose() -> bool:
    return bool({"--verbose", "-v"} & set(sys.argv))


def _complain(message: str) -> None:
    Console(stderr=True).print(Text.assemble(("error: ", "bold red"), (message, "red")), soft_wrap=True)


@app.callback()
def _check_processes(context: typer.Context) -> None:
    if num_processes() > 1 and context.invoked_subcommand not in STAGE_COMMANDS:
        known = ", ".join(STAGE_COMMANDS)
        raise ConfigError(f"torchrun starts training only (multimodal {known}), not '{context.invoked_subcommand}'")


@app.command()
def run(conf: Conf, overrides: Overrides = None, dry_run: DryRun = False, verbose: Verbose = False) -> None:
    """Run the whole pipeline: ingest, encode, train, evaluate, register."""
    _run_until("register", conf, overrides or [], dry_run)


@app.command()
def ingest(conf: Conf, overrides: Overrides = None, dry_run: DryRun = False, verbose: Verbose = False) -> None:
    """Read the sources into a dataset and a ledger."""
    _run_until("ingest", conf, overrides or [], dry_run)


@app.command()
def encode(conf: Conf, overrides: Overrides = None, dry_run: DryRun = False, verbose: Verbose = False) -> None:
    """Run the stages up to encode: latents of every content."""
    _run_until("encode", conf, overrides or [], dry_run)


@app.command()
def train(conf: Conf, overrides: Overrides = None, dry_run: DryRun = False, verbose: Verbose = False) -> None:
    """Run the stages up to train: a decoder."""
    _run_until("train", conf, overrides or [], dry_run)


@app.command()
def evaluate(conf: Conf, overrides: Overrides = None, dry_run: DryRun = False, verbose: Verbose = False) -> None:
    """Run the stages up to evaluate: scores, controls and report.html."""
    _run_until("evaluate", conf, overrides or [], dry_run)


@app.command()
def register(conf: Conf, overrides: Overrides = None, dry_run: DryRun = False, verbose: Verbose = False) -> None:
    """Run the stages up to register: a model version, perhaps the champion."""
    _run_until("register", conf, overrides or [], dry_run)


@app.command()
def predict(
    paths: Annotated[list[str] | None, typer.Argument(help="Pictures, sounds or text files.")] = None,
    task: Annotated[
        str, typer.Option(help="caption, transcribe, denoise, infill, restyle or audio_caption.")
    ] = "caption",
    text: Annotated[list[str] | None, typer.Option(help="A text, instead of a file; infill: with gaps ___.")] = None,
    style: Annotated[str, typer.Option(help="The style to write in; restyle needs one.")] = "",
    hint: Annotated[str, typer.Option(help="A text that says what to expect, for models trained with hints.")] = "",
    picture: Annotated[
        str | None, typer.Option(help="A picture beside the input, for models trained with such pictures.")
    ] = None,
    model: Annotated[str, typer.Option(help="The registered model; its champion is used.")] = "multimodal-sample",
    workspace: Workspace = Path("workspace"),
    preset: Annotated[str | None, typer.Option(help="draft, balanced or quality, instead of the model's own.")] = None,
    steps: Annotated[int | None, typer.Option(help="Most denoising steps.")] = None,
    budget_ms: Annotated[
        float | None, typer.Option(help="Milliseconds per text: as many steps as the champion's stored times allow.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="0 takes the likeliest tokens.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Classifier-free guidance scale; 1 is off.")] = None,
    strength: Annotated[
        float | None, typer.Option(help="denoise, restyle: 0 keeps the input, 1 changes all that the model would.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Makes drawn texts repeatable.")] = None,
    rerank: Annotated[
        str | None, typer.Option(help="clip: of several candidates, the caption most like its picture is kept.")
    ] = None,
    constraints: Annotated[
        str,
        typer.Option(
            help="What each text must be like, as a JSON object of must_contain, must_not_contain (lists of words), "
            "prefix, suffix, min_words and max_words."
        ),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, with confidences.")] = False,
    runner: Annotated[
        str, typer.Option(help="Who writes: threads, processes, or ray, the cluster that RAY_ADDRESS names.")
    ] = "threads",
    workers: Annotated[int | None, typer.Option(help="How many processes or actors.")] = None,
) -> None:
    """Write captions, transcripts or texts with the champion."""
    from flows.server import prepare_environment

    prepare_environment(workspace)
    from flows.predict import rows_of, runner_of, show_predictions, steps_within

    if steps is not None and budget_ms is not None:
        raise RequestError("--steps and --budget-ms both say how many steps; name one")
    named = {
        "preset": preset, "num_steps": steps, "temperature": temperature, "guidance_scale": guidance, "seed": seed,
        "strength": strength, "rerank": rerank,
    }  # fmt: skip
    sampler = {name: value for name, value in named.items() if value is not None}
    rows = rows_of(task, paths or [], text or [], style, constraints, hint, picture)
    if budget_ms is not None:
        sampler["num_steps"] = steps_within(workspace, model, task, budget_ms)
    failed = show_predictions(workspace, model, rows, sampler, as_json, runner_of(runner, workers))
    raise typer.Exit(1 if failed else 0)


@app.command()
def pretrain(conf: Conf, overrides: Overrides = None, dry_run: DryRun = False, verbose: Verbose = False) -> None:
    """Train or adapt the towers of a pipeline that name no weights, and register them (conf/adapt.yaml).

    A configuration without sources (conf/sample-encoders.yaml) makes the sample encoders, from freshly generated
    scenes, speech and text.
    """
    from multimodal.config import has_sources

    if not has_sources(conf):
        from flows.sample_encoders import make_sample_encoders

        make_sample_encoders(conf, overrides or [])
        return
    if dry_run:
        _load(conf, overrides or [])
        from flows.adapt import adapt_intentions
        from flows.console import show_intentions

        show_intentions(adapt_intentions(str(conf), overrides or []))
        return
    with _prefect(conf, overrides or []):
        from flows.adapt import pretrain_pipeline

        result = pretrain_pipeline(str(conf), list(overrides or []))
    from flows.console import show_facts

    show_facts({info.name: f"{info.uri} ({', '.join(info.aliases)}): {info.reason}" for info in result.versions})


@app.command()
def schedule(
    conf: Conf,
    cron: Annotated[str, typer.Option(help="When to run, e.g. '0 2 * * *'.")],
    overrides: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Run the pipeline on a schedule from this one process, until it is stopped."""
    from flows.schedule import check_cron

    check_cron(cron)
    with _prefect(conf, overrides or []):
        from flows.schedule import serve_pipeline

        serve_pipeline(conf, overrides or [], cron)


@app.command()
def doctor(workspace: Workspace = Path("workspace")) -> None:
    """Check the installation, and name the cure of what is wrong."""
    from flows.doctor import examine

    raise typer.Exit(0 if examine(workspace) else 1)


@app.command()
def selfcheck(
    out: Annotated[Path, typer.Option(help="Folder that receives selfcheck.html.")] = Path("workspace"),
) -> None:
    """Check the mathematics on worlds whose answers are known: samplers, likelihoods, batches. Under a minute."""
    from flows.selfcheck import check_mathematics

    raise typer.Exit(0 if check_mathematics(out) else 1)


@app.command()
def ui(workspace: Workspace = Path("workspace")) -> None:
    """Start the Prefect and MLflow dashboards on the workspace, until interrupted."""
    from flows.dashboards import show_dashboards

    show_dashboards(workspace)


@app.command()
def sweep(conf: Conf, overrides: Overrides = None, dry_run: DryRun = False, verbose: Verbose = False) -> None:
    """Try many options of one pipeline, and write the best as a configuration; the same command goes on."""
    from multimodal.sweep.options import read_sweep

    options = read_sweep(conf, overrides or [])
    if dry_run:
        _load(options.base, options.base_overrides())
        from flows.sweep import show_sweep_intentions

        show_sweep_intentions(options)
        return
    with _prefect(options.base, options.base_overrides()):
        from flows.sweep import sweep_flow

        result = sweep_flow(str(conf), list(overrides or []))
    from flows.sweep import show_sweep

    show_sweep(result, options.base_config().workspace)


@app.command()
def distill(
    conf: Conf,
    overrides: Overrides = None,
    source: Annotated[
        str | None,
        typer.Option("--from", help="Another decoder: a checkpoint's folder, or models:/name@champion."),
    ] = None,
    dry_run: DryRun = False,
    verbose: Verbose = False,
) -> None:
    """Make of the trained decoder one that needs fewer steps, as a version of its own (`distill` in CONF)."""
    if dry_run:
        _load(conf, overrides or [])
        from flows.console import show_intentions
        from flows.distill import distill_intentions
        from flows.pipeline import read_config

        show_intentions(distill_intentions(read_config(str(conf), overrides or []), source))
        return
    with _prefect(conf, overrides or []):
        from flows.distill import distill_pipeline

        result = distill_pipeline(str(conf), list(overrides or []), source)
    from flows.console import show_result

    show_result(result)


@bench.command("decoder")
def bench_decoder(conf: Conf, overrides: Overrides = None, dry_run: DryRun = False, verbose: Verbose = False) -> None:
    """Compare the diffusion decoder with its autoregressive twins, in quality and speed; the same command goes on."""
    from multimodal.bench.options import read_bench

    options = read_bench(conf, overrides or [])
    if dry_run:
        _load(options.base, options.base_overrides())
        from flows.bench import show_bench_intentions

        show_bench_intentions(options)
        return
    with _prefect(options.base, options.base_overrides()):
        from flows.bench import compare_decoders, show_comparison

        show_comparison(compare_decoders(conf, overrides or []))


app.add_typer(models, name="models")
app.add_typer(bench, name="bench")
app.add_typer(ledger, name="ledger")
app.add_typer(latents, name="latents")
app.command("explain")(explain)
app.command("verify")(verify)
app.command("rollback")(roll_back)


def _run_until(stage: str, conf: Path, overrides: Sequence[str], dry_run: bool) -> None:
    if rank() > 0:
        if not dry_run:
            from multimodal.training.followers import follow

            follow()
        return
    if dry_run:
        _show_intentions(conf, overrides, stage)
        return
    with _prefect(conf, overrides):
        from flows.pipeline import pipeline

        result = pipeline(str(conf), list(overrides), stage)
    from flows.console import show_result

    show_result(result)
    if num_processes() > 1:
        from multimodal.training.followers import dismiss

        dismiss()


def _show_intentions(conf: Path, overrides: Sequence[str], stage: str) -> None:
    _load(conf, overrides)
    from flows.console import show_intentions
    from flows.pipeline import dry_run, read_config

    show_intentions(dry_run(read_config(str(conf), overrides, stage), stage))


def _load(conf: Path, overrides: Sequence[str]) -> None:
    """Read the configuration before anything heavy is loaded: a typing error is answered at once."""
    from flows.server import prepare_environment
    from multimodal.config import load_config

    config = load_config(conf, overrides)
    prepare_environment(config.workspace, _verbose())


@contextmanager
def _prefect(conf: Path, overrides: Sequence[str]) -> Iterator[None]:
    """Prefect, with the embedded server where none is configured, for the block.

    The server starts while this process imports Prefect, torch and MLflow.
    """
    _load(conf, overrides)
    from flows.server import embedded_server, server_configured

    # The embedded server watches no heartbeats, and joining their thread costs a second.
    embedded = not server_configured()
    with embedded_server() as wait_for_server:
        from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

        import flows.pipeline  # noqa: F401

        wait_for_server()
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None} if embedded else {}):
            yield


if __name__ == "__main__":
    main()
