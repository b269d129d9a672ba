"""The report in a real browser: its charts draw, nothing complains, nothing is fetched, and hostile text does nothing."""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from proxygold.report.build import build_report

SPEC = importlib.util.spec_from_file_location(
    "synthetic_run", Path(__file__).parents[1] / "report" / "synthetic_run.py"
)
synthetic_run = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(synthetic_run)

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next((path for name in BROWSERS if (path := shutil.which(name))), None)

pytestmark = pytest.mark.skipif(
    BROWSER is None,
    reason=f"needs a headless browser on the path, one of {', '.join(BROWSERS)}; the page is tested without one too",
)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return build_report(synthetic_run.write_run(tmp_path_factory.mktemp("runs") / "hostile"))


def opened(page: Path, tmp_path: Path, *flags: str) -> tuple[str, list[str]]:
    """The page's elements after its scripts ran, and what it said on the console. The browser finds no host."""
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
        f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1280,2000", "--virtual-time-budget=10000", *flags, "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "<html" in done.stdout, done.stderr[-2000:]
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, console


@pytest.mark.parametrize("flags", [(), ("--blink-settings=preferredColorScheme=0",)], ids=["light", "dark"])
def test_every_chart_draws_without_a_complaint(report, tmp_path, flags):
    page, console = opened(report, tmp_path, *flags)
    assert console == []
    charts = re.findall(r'<div class="chart[^>]*data-figure="([^"]+)"', page)
    assert len(charts) == 15
    # Each drawn chart has plotly's main drawing with its lines; a colour name that was not resolved would begin with @.
    assert page.count('class="js-line"') >= 3 * (2 + 2 + 2 + 3 * 2)
    assert "stroke: @" not in page
    assert 'fill="@' not in page


def test_without_its_policy_hostile_text_runs_nothing_and_nothing_is_fetched(report, tmp_path):
    # The copy has no policy, so that what is tested is the page itself, and a script that tells what happened in it.
    html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", report.read_text(encoding="utf-8"))
    told = "[window.hacked, performance.getEntriesByType('resource').map((entry) => entry.name)]"
    probe = f"<script>setTimeout(() => {{ document.body.dataset.told = JSON.stringify({told}) }}, 1000)</script></body>"
    copy = tmp_path / "copy.html"
    copy.write_text(html.replace("</body>", probe), encoding="utf-8")
    page, _ = opened(copy, tmp_path)
    assert re.search(r'data-told="([^"]*)"', page).group(1) == "[null,[]]"


def test_the_policy_stops_a_script_that_got_in(report, tmp_path):
    # The other line of defence alone: an unescaped script, with the policy in place.
    html = report.read_text(encoding="utf-8")
    copy = tmp_path / "copy.html"
    copy.write_text(
        html.replace("</body>", "<script>document.body.dataset.hacked = 1</script></body>"), encoding="utf-8"
    )
    page, console = opened(copy, tmp_path)
    assert "data-hacked" not in page
    assert any("Content Security Policy" in line for line in console)
