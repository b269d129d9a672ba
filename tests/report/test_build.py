"""The report as a file: it is one, it needs no network, it holds what it promises, and text in it stays text."""

import base64
import hashlib
import json
import re
import subprocess
import sys
import textwrap
from html.parser import HTMLParser

import pytest

from proxygold.errors import ConfigError
from proxygold.report.build import build_report

FETCHING = {"src", "href", "srcset", "data", "poster", "action", "formaction", "background", "xlink:href"}


class Page(HTMLParser):
    """Elements, script bodies and visible text of a page."""

    def __init__(self):
        super().__init__()
        self.elements, self.scripts, self.text, self._inside = [], [], [], None

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in {"script", "style"}:
            self._inside = tag
            self.scripts.append((tag, dict(attrs), ""))

    def handle_endtag(self, tag):
        if tag == self._inside:
            self._inside = None

    def handle_data(self, data):
        if self._inside:
            tag, attrs, body = self.scripts[-1]
            self.scripts[-1] = (tag, attrs, body + data)
        else:
            self.text.append(data)


@pytest.fixture(scope="session")
def parsed(page):
    parser = Page()
    parser.feed(page)
    return parser


@pytest.fixture(scope="session")
def text(parsed):
    return " ".join(" ".join(parsed.text).split())


def test_nothing_is_fetched(parsed):
    for tag, attrs in parsed.elements:
        assert tag not in {"link", "iframe", "object", "embed", "base", "img"}, (tag, attrs)
        for name in FETCHING & set(attrs):
            assert attrs[name].startswith("#"), (tag, name, attrs[name])
    style = next(body for tag, _, body in parsed.scripts if tag == "style")
    assert "url(" not in style
    assert "@import" not in style


def test_it_is_one_file_of_a_sensible_size(run):
    assert run.report_file.name == "report.html"
    assert run.report_file.stat().st_size < 6_000_000  # plotly.js is 4.8 MB of it
    assert not [path for path in run.path.iterdir() if path.name.startswith((".report", "report_"))]


def test_only_the_pages_own_scripts_may_run(parsed):
    policy = next(
        a["content"] for t, a in parsed.elements if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    running = [body for tag, attrs, body in parsed.scripts if tag == "script" and "type" not in attrs]
    assert len(running) == 2
    for body in running:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()}'" in policy


def test_hostile_text_stays_text(page, parsed, text, synthetic):
    assert synthetic.HOSTILE not in page
    assert "&lt;img src=x onerror=" in page
    # Read back by a parser it is what the model wrote, character by character.
    assert synthetic.HOSTILE in text
    assert not [attrs for _, attrs in parsed.elements if any(name.startswith("on") for name in attrs)]


def test_hostile_names_cannot_leave_the_data(tmp_path, synthetic):
    run = synthetic.write_run(tmp_path / "r", rewards=("LI",), seeds=(0,), hostile=False)
    study = run.read_study()
    study["name"] = study["policy"]["model"] = study["rewards"]["LI"] = "</script><script>alert(1)</script>"
    run.write_study(study)
    build_report(run)
    assert "<script>alert" not in run.report_file.read_text(encoding="utf-8")


def test_the_verdicts_are_there_in_plain_words(text, parsed):
    assert "RER stands in for the gold reward. LI was over-optimised. LI_RP is not settled yet." in text
    title = text.split("The policy was trained")[0]
    assert "three-rewards" in title
    for verdict in ("success", "over-optimised", "inconclusive"):
        assert any(verdict in (attrs.get("class") or "") for tag, attrs in parsed.elements if tag == "span")
    assert "What would settle it." in text


def test_every_number_of_the_table_is_there(text):
    for heading in (
        "Spearman",
        "Kendall",
        "Pearson",
        "Gain of proxy",
        "Gain of gold",
        "Drawdown of gold",
        "Checkpoints",
        "Prompts",
    ):
        assert heading in text
    assert text.count("open-ended") > 6
    assert "2,000 draws of prompts (seed 0)" in text


def test_each_chart_has_its_figure_a_label_and_its_numbers(parsed):
    body = next(body for _, attrs, body in parsed.scripts if attrs.get("type") == "application/json")
    figures = json.loads(body)
    charts = [attrs for _, attrs in parsed.elements if "data-figure" in attrs]
    assert {attrs["data-figure"] for attrs in charts} == set(figures)
    # For each of three rewards: curves, query types, and three training curves.
    assert len(charts) == 3 * 5
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in charts)
    curves = figures["r0-curves"]["data"]
    assert [trace["name"] for trace in curves if "name" in trace] == ["proxy", "gold"]
    assert len([trace for trace in curves if trace.get("fill") == "tonexty"]) == 2
    assert {trace["line"]["dash"] for trace in curves if "name" in trace} == {"dash", "solid"}  # not by colour alone


def test_tables_can_be_read_aloud(parsed):
    headers = [attrs for tag, attrs in parsed.elements if tag == "th"]
    assert headers
    assert all(attrs.get("scope") in {"col", "row"} for attrs in headers)
    tables, captions = ([1 for tag, _ in parsed.elements if tag == name] for name in ("table", "caption"))
    assert len(tables) == len(captions)
    identifiers = [attrs["id"] for _, attrs in parsed.elements if "id" in attrs]
    assert len(identifiers) == len(set(identifiers))
    for _, attrs in parsed.elements:
        if attrs.get("href", "").startswith("#"):
            assert attrs["href"][1:] in identifiers


def test_ten_samples_for_each_reward_first_beside_last(parsed, text):
    assert len([1 for tag, attrs in parsed.elements if tag == "article" and attrs.get("class") == "sample"]) == 30
    assert text.count("First step 0 ·") == 30
    assert text.count("Last step 120 ·") == 30


def test_study_and_provenance_are_there(text):
    assert "learning_rate: 0.001" in text
    assert "packages.torch" in text
    assert "3f1c9a2b7d10" in text


def test_prompts_that_were_left_out_are_told(tmp_path, synthetic, text):
    assert "left out before training" not in text
    run = synthetic.write_run(tmp_path / "r", rewards=("RER",), seeds=(0,))
    run.write_rejected([{"split": "train", "id": "line-3", "reason": synthetic.HOSTILE}] * 4)
    html = build_report(run).read_text(encoding="utf-8")
    assert (
        '<p class="note">4 prompts were left out before training (4 to train on); rejected.jsonl in the run&#39;s '
        "directory lists each with its reason.</p>"
    ) in html


def test_building_again_gives_the_same_page(run, page):
    build_report(run)
    assert run.report_file.read_text(encoding="utf-8") == page


def test_a_run_that_has_only_begun_has_a_page(tmp_path, synthetic):
    run = synthetic.write_run(tmp_path / "r", rewards=("RER",), seeds=(0,), steps=(0,))
    run.arm("RER", 0).train_log.unlink(missing_ok=True)
    html = build_report(run).read_text(encoding="utf-8")
    assert "RER is not settled yet." in html
    assert "Nothing was logged." in html


def test_without_plotly_the_error_names_the_extra(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'proxygold[report]'")):
        build_report(run)


def test_analysis_and_report_work_with_torch_blocked(run):
    script = f"""
        import importlib.abc, sys
        class Blocker(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in {{"torch", "transformers", "peft", "trl", "sentence_transformers"}}:
                    raise ImportError(name + " is blocked")
        sys.meta_path.insert(0, Blocker())
        from pathlib import Path
        from proxygold.analysis.runs import analyse_run
        from proxygold.report.build import build_report
        from proxygold.report.table import print_monotonicity
        from proxygold.store import RunDirectory
        run = RunDirectory(Path({str(run.path)!r}))
        analysis = analyse_run(run)
        print_monotonicity(analysis)
        print(build_report(run, analysis))
        """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(run.report_file)


def test_scores_without_answers_have_a_page_without_samples(tmp_path, synthetic):
    run = synthetic.write_run(tmp_path / "r", rewards=("RER",), seeds=(0,))
    for file in (run.arm("RER", 0).path / "rollouts").iterdir():
        file.unlink()
    assert "The answers are not in this run." in build_report(run).read_text(encoding="utf-8")
