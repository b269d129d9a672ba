"""The monotonicity table at a terminal and in a pipe, and the two verbs."""

import csv
import io
import json
from dataclasses import replace

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from proxygold.analysis.runs import analyse_run
from proxygold.cli.monotonicity import monotonicity
from proxygold.cli.report import report
from proxygold.errors import ConfigError
from proxygold.report.table import print_monotonicity
from proxygold.report.words import left_out
from proxygold.store import RunDirectory

app = typer.Typer()
app.command()(monotonicity)
app.command()(report)


def invoke(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture(scope="module")
def analysis(run):
    return analyse_run(run)


def printed(analysis, *, terminal, **options):
    """What comes on standard output, and what beside it."""
    table, beside = io.StringIO(), io.StringIO()
    print_monotonicity(
        analysis,
        Console(file=table, force_terminal=terminal, width=120, no_color=True),
        remarks=Console(file=beside, force_terminal=False, width=80),
        **options,
    )
    return table.getvalue(), beside.getvalue()


def remarks(analysis):
    """All that is said in words, as the analysis has it."""
    for reward in analysis.rewards:
        yield from (reward.verdict.reason, reward.verdict.settle)
        for seed in reward.seeds:
            yield from (*seed.notes, *seed.overall.notes)
    yield from analysis.notes


def test_at_a_terminal_verdicts_come_first_then_seeds(analysis):
    out, beside = printed(analysis, terminal=True)
    assert beside == ""
    for words in ("over-optimised", "inconclusive", "success", "Spearman over 2 seeds: mean", "What would settle it"):
        assert words in out
    assert "descriptive" in out


def test_in_a_pipe_it_is_one_plain_table(analysis):
    out, _ = printed(analysis, terminal=False)
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


def test_in_a_pipe_each_row_has_its_rewards_verdict_over_the_seeds(analysis):
    out, _ = printed(analysis, terminal=False)
    lines = list(csv.DictReader(io.StringIO(out), delimiter="\t"))
    for reward in analysis.rewards:
        own = [line for line in lines if line["reward"] == reward.reward]
        assert {line["reward_verdict"] for line in own} == {reward.verdict.name}
        assert {line["n_seeds"] for line in own} == {"2"}
        rhos = [float(line["spearman"]) for line in own if line["prompts"] == "all prompts"]
        for name, expected in (("mean", sum(rhos) / 2), ("min", min(rhos)), ("max", max(rhos))):
            assert float(own[0][f"spearman_{name}"]) == pytest.approx(expected, rel=1e-4)


def test_a_pipe_loses_nothing_that_a_terminal_shows(analysis):
    noted = replace(analysis, notes=("No checkpoint yet: RER seed 2.",))
    out, beside = printed(noted, terminal=False, left_out="3 prompts were left out.")
    expected = [*filter(None, remarks(noted)), "3 prompts were left out.", "2,000 draws, seed 0", "over 2 seeds: mean"]
    assert len(expected) > 7
    for words in expected:
        assert words in beside  # on one line, however narrow
    at_terminal, _ = printed(noted, terminal=True, left_out="3 prompts were left out.")
    assert "Note: 3 prompts were left out." in at_terminal
    assert "left out." not in out


def test_prompts_that_were_left_out_are_counted_by_split(tmp_path):
    run = RunDirectory(tmp_path)
    assert left_out(run) is None
    run.write_rejected([])
    assert left_out(run) is None
    run.write_rejected([{"split": "validation", "id": "v1", "reason": "too long"}])
    assert left_out(run).startswith("1 prompt was left out before training (1 to validate on); rejected.jsonl in ")
    run.write_rejected([{"split": split, "id": "x", "reason": "y"} for split in ("train", "validation", "train")])
    assert left_out(run).startswith("3 prompts were left out before training (2 to train on and 1 to validate on);")


def test_the_verb_prints_the_table_and_writes_json(run, tmp_path):
    result = invoke("monotonicity", run.path, "--draws", 300, "--json", tmp_path / "out.json")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("reward\tseed\tprompts\tverdict")
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["draws"] == 300
    assert written["rewards"][2]["verdict"]["name"] == "success"
    assert "What would settle it: " in result.stderr
    assert "left out" not in result.stderr


def test_the_verb_says_what_was_left_out(tmp_path, synthetic):
    run = synthetic.write_run(tmp_path / "r", rewards=("RER",), seeds=(0,))
    run.write_rejected([{"split": "train", "id": "line-3", "reason": "not JSON"}])
    result = invoke("monotonicity", run.path, "--draws", 100)
    assert "1 prompt was left out before training (1 to train on); rejected.jsonl in the run's" in result.stderr


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
