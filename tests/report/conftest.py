"""A made-up run with its report, built once."""

import importlib.util
from pathlib import Path

import pytest

from proxygold.report.build import build_report

SPEC = importlib.util.spec_from_file_location("synthetic_run", Path(__file__).with_name("synthetic_run.py"))
synthetic_run = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(synthetic_run)


@pytest.fixture(scope="session")
def synthetic():
    """The module that writes made-up runs."""
    return synthetic_run


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """Three rewards, two seeds, seven checkpoints, with hostile text in prompts, references and completions."""
    directory = synthetic_run.write_run(tmp_path_factory.mktemp("runs") / "three-rewards")
    build_report(directory)
    return directory


@pytest.fixture(scope="session")
def page(run):
    """The report's HTML."""
    return run.report_file.read_text(encoding="utf-8")
