"""The monotonicity table at a terminal and in a pipe, and the two verbs."""

import csv
import io
import json

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from proxygold.analysis.runs import analyse_run
from proxygold.cli.monotonicity import monotonicity
from proxygold.cli.report import report
from proxygold.errors import ConfigError
from proxygold.report.table import print_monotonicity

app = typer.Typer()
app.command()(monotonicity)
app.command()(report)


def invoke(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture(scope="module")
def analysis(run):
    return analyse_run(run)


def printed(analysis, *, terminal):
    file = io.StringIO()
    print_monotonicity(analysis, Console(file=file, force_terminal=terminal, width=120, no_color=True))
    return file.getvalue()


def test_at_a_terminal_verdicts_come_first_then_seeds(analysis):
    out = printed(analysis, terminal=True)
    for words in ("over-optimised", "inconclusive", "success", "Spearman over 2 seeds: mean", "What would settle it"):
        assert words in out
    assert "descriptive" in out


def test_in_a_pipe_it_is_one_plain_table(analysis):
    out = printed(analysis, terminal=False)
    assert "\x1b" not in out
    lines = list(csv.DictReader(io.StringIO(out), delimiter="\t"))
    assert len(lines) == 3 * 2 * 3  # rewards, seeds, all and two query types
    line = lines[0]
    assert (line["reward"], line["seed"], line["prompts"], line["verdict"]) == (
        "LI",
        "0",
        "all prompts",
        "over-optimised",
    )
    result = analysis.rewards[0].seeds[0].overall
    assert float(line["spearman_low"]) == pytest.approx(result.spearman.low, rel=1e-5)
    assert float(line["drawdown"]) == pytest.approx(result.drawdown.fall.value, rel=1e-5)


def test_the_verb_prints_the_table_and_writes_json(run, tmp_path):
    result = invoke("monotonicity", run.path, "--draws", 300, "--json", tmp_path / "out.json")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("reward\tseed\tprompts\tverdict")
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["draws"] == 300
    assert written["rewards"][2]["verdict"]["name"] == "success"


def test_the_verb_reads_a_table_of_scores(tmp_path):
    path = tmp_path / "mine.jsonl"
    rows = [{"step": s, "prompt_id": p, "proxy": s + p, "gold": s * 2 + p % 3} for s in range(6) for p in range(20)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = invoke("monotonicity", "--scores", path)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[1].startswith("mine\t0\tall prompts\tsuccess")


def test_the_verb_wants_one_source(run, tmp_path):
    assert isinstance(invoke("monotonicity").exception, ConfigError)
    both = invoke("monotonicity", run.path, "--scores", tmp_path / "x.jsonl").exception
    assert "both RUN and --scores were given" in str(both)


def test_report_prints_where_the_page_is(run):
    result = invoke("report", run.path)
    assert result.stdout.strip() == str(run.report_file)
