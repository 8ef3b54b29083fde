from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = (
    {"errors", "fingerprint", "options", "figures", "data_uris", "storage"},
    {"sample", "promotion", "merkle", "ledger_balance", "runners"},
    {
        "synthetic",
        "latents",
        "retrieval",
        "dataset",
        "stored_contents",
        "media_parts",
        "parts",
        "ledger",
        "tokenizer",
        "tasks",
        "diffusion",
        "decoder",
        "optimizer",
    },
    {"encoders", "ingest", "pairs"},
    {
        "generation",
        "training",
        "evaluation",
        "predictor",
        "bulk_prediction",
        "package",
        "model_card",
        "verification",
        "lineage",
        "upkeep",
    },
    {"registry", "serving", "encoder_serving", "tracking", "pyfunc_model", "pyfunc_encoder"},
    {"config"},
    {"sweep", "bench", "selfcheck"},
    {"flows"},
)
"""Bottom to top; a module imports from its own layer and those below, never from above."""

RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
TORCH_ONLY = {"diffusion", "decoder"}
ALLOWED = {
    "prefect": {"flows"},
    "ray": {"runners"},
    "mlflow": {"tracking", "registry", "serving", "encoder_serving", "pyfunc_model", "pyfunc_encoder"},
    "optuna": {"sweep"},
    "peft": {"encoders", "training"},
    "huggingface_hub": {"encoders", "generation"},
    "open_clip": {"encoders", "tokenizer"},
    "transformers": {"encoders", "tokenizer", "bench"},
}
HEAVY = (
    "torch",
    "open_clip",
    "transformers",
    "peft",
    "ray",
    "mlflow",
    "optuna",
    "prefect",
    "pyarrow",
    "sklearn",
    "matplotlib",
)


@dataclass(frozen=True)
class Import:
    """One import: `part` is the layer name of the importing file, `target` the dotted name that it imports."""

    file: str
    line: int
    part: str
    target: str

    @property
    def where(self):
        return f"{self.file}:{self.line} imports {self.target}"

    @property
    def package(self):
        return self.target.split(".")[0]

    @property
    def target_part(self):
        """The part of this project that is imported, None for other libraries and for the bare package."""
        names = self.target.split(".")
        if names[0] == "flows":
            return "flows"
        return names[1] if names[0] == "multimodal" and len(names) > 1 else None


def part_of(path):
    names = path.relative_to(ROOT).with_suffix("").parts
    return "flows" if names[0] == "flows" else names[1]


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative imports hide the direction; write the full name"
            # `from multimodal import latents` imports a part, `from multimodal import __version__` does not.
            whole = [f"multimodal.{alias.name}" for alias in node.names if alias.name in RANK]
            names = whole or [node.module] if node.module == "multimodal" else [node.module]
        yield from (Import(str(path.relative_to(ROOT)), node.lineno, part_of(path), name) for name in names)


FILES = sorted(path for name in ("multimodal", "flows") for path in (ROOT / name).rglob("*.py"))
IMPORTS = [one for path in FILES if path != ROOT / "multimodal/__init__.py" for one in imports_of(path)]


def test_the_whole_library_is_looked_at():
    """The rules below are about every file, and every part has its layer."""
    parts = {part_of(path) for path in FILES} - {"__init__"}
    assert parts - set(RANK) == set(), "give the new part its layer in LAYERS"
    assert len(IMPORTS) > 100


def test_nothing_imports_upward():
    """The layers of the design hold in every file, in function bodies too."""
    found = [one.where for one in IMPORTS if one.target_part and RANK[one.target_part] > RANK[one.part]]
    assert found == []


def test_the_maths_needs_torch_only():
    """diffusion/ and decoder/ import torch, the standard library and themselves; neither imports the other."""
    allowed = {"torch", *sys.stdlib_module_names}
    found = [
        one.where
        for one in IMPORTS
        if one.part in TORCH_ONLY and one.package not in allowed and one.target_part != one.part
    ]
    assert found == []


@pytest.mark.parametrize("package", ALLOWED)
def test_each_framework_has_its_place(package):
    """Prefect only in flows/, MLflow only where models are tracked, model zoos only in encoders and tokenizer."""
    found = [one.where for one in IMPORTS if one.package == package and one.part not in ALLOWED[package]]
    assert found == []


def test_flows_do_no_arithmetic():
    """Flows say what runs, in which order: no tensors and no tables there (the doctor only asks torch for a GPU)."""
    frameworks = {"torch", "numpy", "pandas", "mlflow"}
    found = [one for one in IMPORTS if one.part == "flows" and one.package in frameworks]
    assert [one.where for one in found if (one.file, one.package) != ("flows/doctor.py", "torch")] == []


def test_no_import_cycle():
    """Module-level imports form no cycle."""
    files = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}
    graph = {name: set(_module_level(path, files)) for name, path in files.items()}
    while leaves := [name for name, targets in graph.items() if not targets & (graph.keys() - {name})]:
        for name in leaves:
            del graph[name]
    assert graph == {}, "these modules import each other in a circle"


def _module_level(path, files):
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in files else node.module for name in whole)


def test_no_file_has_a_name_that_says_nothing():
    """utils, common and helpers are names for things nobody has named."""
    assert [str(path) for path in FILES if path.stem in {"utils", "common", "helpers", "misc", "util"}] == []


def loaded_by(code):
    """Which of the heavy libraries a fresh interpreter has loaded after some code."""
    check = f"{code}\nimport sys\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()


@pytest.mark.parametrize(
    "module",
    ["multimodal", "multimodal.config", "multimodal.ingest", "multimodal.sweep.options", "multimodal.bench.options"],
)
def test_importing_is_light(module):
    """The package, its configuration and the plan of ingest load no heavy library."""
    assert loaded_by(f"import {module}") == []


def test_help_is_light():
    """`multimodal --help` loads no heavy library: it answers in under a second."""
    code = "import sys\nsys.argv = ['multimodal', '--help']\nfrom flows.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass"  # noqa: E501
    assert loaded_by(code) == []


def test_a_training_is_repeated_when_code_that_it_runs_changes():
    """Every part that training imports is in its fingerprint, but for parts that only carry or store data."""
    from multimodal.training.job import CODE

    carriers = {"errors", "options", "sample", "fingerprint", "dataset", "latents", "pairs"}
    parts = {one.target_part for one in IMPORTS if one.part == "training"} - carriers - {None}
    assert parts - {name.removesuffix(".py").split("/")[0] for name in CODE} == set()
