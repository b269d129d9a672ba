"""What every page that proxygold writes is made with: escaping everything, and a policy that lets nothing else run."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from proxygold.errors import ConfigError
from proxygold.store import to_json

__all__ = ["json_for_html", "page_environment", "page_scripts", "page_style", "script_policy"]

HERE = Path(__file__).parent


def page_environment() -> Any:
    """The Jinja environment of the templates beside this file. Raises ConfigError when jinja2 is missing."""
    try:
        import jinja2
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page_scripts() -> list[str]:
    """The two scripts of a page: plotly, and what draws the charts. Raises ConfigError when plotly is missing."""
    try:
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    return [get_plotlyjs(), (HERE / "page.js").read_text(encoding="utf-8")]


def page_style() -> str:
    return (HERE / "page.css").read_text(encoding="utf-8")


def json_for_html(value: Any) -> str:
    """JSON that may stand inside a script element: nothing in it can end the element or begin a comment."""
    text = to_json(value)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def script_policy(scripts: Sequence[str]) -> str:
    """The content security policy: these scripts by their hashes, inline styles, images made in the page, no more."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {allowed}",
            "style-src 'unsafe-inline'",
            "img-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _missing(error: ModuleNotFoundError) -> ConfigError:
    return ConfigError(
        f"the report needs {error.name}, which is not installed. Install it: pip install 'proxygold[report]'"
    )
