"""A page of figures: it holds all it needs, and nothing in it but its own two scripts can run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from proxygold.errors import ConfigError
from proxygold.evaluation.self_bleu.figure import self_bleu_figure
from proxygold.report.charts import chart
from proxygold.report.figure_page import PageFigure, write_figure_page

HOSTILE = "</script><script>document.title='hacked'</script><img src=x onerror=alert(1)>"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next((path for name in BROWSERS if (path := shutil.which(name))), None)


def write(path: Path, name: str = HOSTILE) -> Path:
    values = np.linspace(0, 1, 12)
    figure = self_bleu_figure([(name, values), ("plain", values / 2)], ["open_ended", "closed_ended"] * 6)
    write_figure_page(
        path, f"Title of {name}", [PageFigure("Boxes", figure, "About it.", ("model", "mean"), [(name, "0.5")])]
    )
    return path


def test_hostile_names_are_text(tmp_path: Path) -> None:
    page = write(tmp_path / "page.html").read_text(encoding="utf-8")
    assert HOSTILE not in page
    assert "<img" not in page.split("<script")[0]
    assert page.count("&lt;/script&gt;") >= 3  # title, heading, table
    (figures,) = re.findall(r'<script type="application/json" id="figures">(.*?)</script>', page, flags=re.DOTALL)
    assert json.loads(figures)["figure-1"]["data"][0]["x"][1] == "plain"
    # Nothing is fetched: no address stands where a browser would load from it, and the policy allows none.
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=", page)
    assert "default-src &#39;none&#39;; script-src &#39;sha256-" in page


def test_the_numbers_stand_under_the_figure(tmp_path: Path) -> None:
    page = write(tmp_path / "page.html", "RER").read_text(encoding="utf-8")
    assert '<th scope="row">RER</th><td class="n">0.5</td>' in page
    assert "About it." in page


def test_without_plotly_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    figure = PageFigure("A", chart([], x_title="", y_title="", height=100))
    with pytest.raises(ConfigError, match=r"pip install 'proxygold\[report\]'"):
        write_figure_page(tmp_path / "page.html", "A", [figure])
    assert not (tmp_path / "page.html").exists()


@pytest.mark.skipif(BROWSER is None, reason=f"needs a headless browser on the path, one of {', '.join(BROWSERS)}")
def test_the_boxes_draw_without_a_complaint(tmp_path: Path) -> None:
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update", "--disable-extensions",
        f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND",
        "--virtual-time-budget=10000", "--dump-dom", write(tmp_path / "page.html").as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    assert "<title>hacked</title>" not in done.stdout
    # Two models, two query types: four boxes, each with its mean's line.
    assert done.stdout.count('class="box"') == 4
    assert done.stdout.count('class="mean"') == 4
    assert "stroke: @" not in done.stdout
