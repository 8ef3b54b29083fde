"""Checks of the mathematics on worlds whose answers are known: does this installation sample what it says it does?

toys        a Gaussian mixture under a forward process, a column of gas
dynamics    particles, reversed processes and Langevin steps against their distributions
likelihood  likelihoods and their bounds against exact ones
invariance  texts against themselves in another batch
page        all findings on one HTML page
"""

from multimodal.selfcheck.checks import CHECKS, Check, CheckResult, run_checks
from multimodal.selfcheck.finding import Finding
from multimodal.selfcheck.page import write_page

__all__ = ["CHECKS", "Check", "CheckResult", "Finding", "run_checks", "write_page"]
