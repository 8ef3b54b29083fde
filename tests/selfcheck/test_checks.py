"""The self-check passes here, and fails where what it checks is broken."""

import re

import pytest
import torch
from typer.testing import CliRunner

import flows.cli
from multimodal.diffusion.continuous import container, correctors
from multimodal.diffusion.continuous.metropolis import Moved
from multimodal.diffusion.processes import AbsorbingProcess
from multimodal.selfcheck import CHECKS, Check, Finding, checks, likelihood, run_checks, write_page
from multimodal.selfcheck.dynamics import adjusted_langevin, gas_in_a_box
from multimodal.selfcheck.likelihood import absorbing_bound, autoregressive_sum


@pytest.fixture
def run_command():
    """The command line, in this process."""
    return lambda *words: CliRunner().invoke(flows.cli.app, ["selfcheck", *map(str, words)])


def test_the_command_passes_and_writes_its_page(run_command, tmp_path):
    """Every check with its verdict in the table; a page with pictures that fetches nothing."""
    result = run_command("--out", tmp_path / "new")
    assert result.exit_code == 0, result.output
    assert result.output.count("passed") == len(CHECKS) and "FAILED" not in result.output
    page = (tmp_path / "new" / "selfcheck.html").read_text()
    assert f"{len(CHECKS)} of {len(CHECKS)} checks passed" in page
    assert page.count("<svg") == 5
    assert all(check.name in page for check in CHECKS)
    fetched = [url for url in re.findall(r'(?:src|href)="([^"]+)"', page) if not url.startswith(("#", "data:"))]
    assert fetched == [] and "<script" not in page


def test_a_failed_check_is_shown_and_makes_the_command_fail(run_command, tmp_path, monkeypatch):
    """Exit code 1, after all checks have run and the page is written."""
    broken = Check("broken", "1 against 2", lambda: Finding(False, "found 1", "2"))
    fine = Check("fine", "2 against 2", lambda: Finding(True, "found 2", "2"))
    monkeypatch.setattr(checks, "CHECKS", (broken, fine))
    result = run_command("--out", tmp_path)
    assert result.exit_code == 1
    assert "FAILED" in result.output and "found 2" in result.output
    assert "1 of 2 checks passed" in (tmp_path / "selfcheck.html").read_text()


def test_words_are_escaped(tmp_path):
    """What a check says is text on the page."""
    (result,) = run_checks([Check("a < b", "<script>", lambda: Finding(True, "1 < 2", "<b>"))])
    page = write_page(tmp_path, [result]).read_text()
    assert "a &lt; b" in page and "1 &lt; 2" in page and "<script>" not in page


def always(x, proposal, log_ratio, randomness):
    """A Metropolis rule that refuses nothing."""
    return Moved(proposal, torch.ones(len(x), dtype=torch.bool))


@pytest.mark.parametrize(("module", "check"), [(container, gas_in_a_box), (correctors, adjusted_langevin)])
def test_a_metropolis_rule_that_refuses_nothing_is_found(module, check, monkeypatch):
    """By particles that do not feel their weight, and by Langevin steps as wide as unadjusted ones."""
    monkeypatch.setattr(module, "accept", always)
    assert not check().passed


def test_a_bound_with_wrong_weights_is_found(monkeypatch):
    """Half the bound is no bound."""
    right = AbsorbingProcess.likelihood_bound
    monkeypatch.setattr(AbsorbingProcess, "likelihood_bound", lambda *values: 0.5 * right(*values))
    assert not absorbing_bound(draws=2000).passed


def test_a_decoder_that_looks_ahead_is_found(monkeypatch):
    """Its probabilities do not sum to one."""
    config = likelihood.DecoderConfig

    def both_ways(*values, **named):
        return config(*values, **{**named, "causal": False})

    monkeypatch.setattr(likelihood, "DecoderConfig", both_ways)
    assert not autoregressive_sum().passed
