"""All findings on one HTML page that fetches nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from multimodal import __version__
from multimodal.figures import as_svg
from multimodal.selfcheck.checks import CheckResult

PAGE = "selfcheck.html"


def write_page(folder: Path, results: Sequence[CheckResult]) -> Path:
    """Write `selfcheck.html` into a folder, which is made if need be."""
    environment = Environment(
        loader=PackageLoader("multimodal.selfcheck", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pictures = [Markup(as_svg(r.finding.figure)) if r.finding.figure else "" for r in results]
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / PAGE
    page.write_text(
        environment.get_template("selfcheck.html.j2").render(
            rows=list(zip(results, pictures, strict=True)),
            passed=sum(result.finding.passed for result in results),
            seconds=sum(result.seconds for result in results),
            version=__version__,
        )
    )
    return page
