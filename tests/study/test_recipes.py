"""Every recipe is a complete study, plans without a download, and has the settings that the paper tells."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from proxygold.cli.fine_tuning import load_job
from proxygold.cli.main import app
from proxygold.models.reward_settings import RewardModelSettings
from proxygold.rewards.runtime import reward
from proxygold.rewards.tree import RewardModelUse, walk
from proxygold.study.config import Study
from proxygold.study.loading import load_study

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes/paper").glob("*.yaml")) + sorted((ROOT / "recipes/small").glob("*.yaml"))
STUDIES = [path for path in RECIPES if not path.name.startswith("sft")]
PAPER = {path.stem: path for path in STUDIES if path.parent.name == "paper"}


def command(path: Path) -> list[str]:
    """What stands in the first line, from `proxygold` on."""
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# "), path
    typed = first[2:].replace("-m proxygold", "proxygold")
    assert typed.startswith(("proxygold ", "accelerate launch --config_file recipes/accelerate/")), path
    return shlex.split(typed[typed.index("proxygold ") :])[1:]


def paper(name: str) -> Study:
    return load_study(PAPER[name])


def lines(name: str) -> dict[str, str]:
    return dict(paper(name).rewards)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_command_in_the_first_line_plans_without_a_download(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    verb, *typed = command(path)
    assert (verb, typed[0]) == ("run", str(path.relative_to(ROOT)))

    def no_network(*_: object) -> None:
        raise AssertionError("a plan asked the network")

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("socket.getaddrinfo", no_network)
    monkeypatch.setattr("socket.socket.connect", no_network)
    result = CliRunner().invoke(app, [verb, *typed, "--dry-run", "--runs", str(tmp_path)])
    assert result.exit_code == 0, result.output
    text = " ".join(result.output.split())
    study = load_study(path)
    assert f"{study.training.steps:,} PPO steps" in text
    assert re.search(r"policy memory at most \d+\.\d\d GiB: weights \d+\.\d\d", text)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", [path for path in RECIPES if path not in STUDIES], ids=lambda path: path.parent.name)
def test_fine_tuning_recipes_are_jobs(path: Path) -> None:
    verb, kind, option, file = command(path)
    assert (verb, kind, option, file) == ("train", "sft", "--config", str(path.relative_to(ROOT)))
    job = load_job(path, [], {})
    assert ([str(source) for source in job.data], job.prompt_template) == (["hh"], "hh")
    # The studies on HH start from what this makes.
    for study in path.parent.glob("hh*.yaml"):
        assert load_study(study).policy.model == f"{job.out}/model"
        assert load_study(study).policy.prompt_template == "hh"
    if path.parent.name == "paper":  # Table 8
        assert (job.learning_rate, job.warmup_ratio, job.epochs, job.max_length) == (2e-5, 0.03, 3, 2048)
        assert (job.batch_size, job.gradient_accumulation_steps, job.lora) == (2, 8, None)


def test_names_differ_and_say_where_they_are_from() -> None:
    names = [load_study(path).name for path in STUDIES]
    assert len(set(names)) == len(names)
    for path, name in zip(STUDIES, names, strict=True):
        assert name.startswith(f"{path.parent.name}-")


def test_rewards_are_those_of_the_tables() -> None:
    four = {"LI": "LI", "LI_RP": "LI * RP", "LI_RP_QR": "LI * RP * QR", "RER": "RER"}
    assert lines("hh") == lines("alpacafarm") == four  # Tables 1 to 4
    assert lines("vicuna_7b") == lines("vicuna_13b") == {"RER": "RER"}  # Figures 6 and 7
    assert lines("hh_qr") == {"QR": "QR"}  # section 4.1
    assert lines("alpacafarm_random_types") == {"RER_random": "RER"}  # Table 4
    types = paper("alpacafarm_random_types").data.query_types
    assert types is not None
    assert types.by == "random"
    # Table 6, with F of Contriever at 512 tokens written out: [0, 3.5] onto [0, 5.12].
    (added,) = lines("alpacafarm_addition").values()
    added_tree = reward(added, encoder="facebook/contriever").tree
    multiplied = str(reward("RER", encoder="facebook/contriever", max_new_tokens=512))
    assert str(reward(added)) == multiplied.replace(" * ", " + ")
    assert "*" not in added
    assert added_tree == reward(added).tree


def models(name: str) -> dict[str, RewardModelSettings]:
    found = {}
    for key, line in lines(name).items():
        (node,) = walk(reward(line).tree)
        assert isinstance(node, RewardModelUse)
        found[key] = node.settings
    return found


def test_reward_models_are_the_papers_and_as_they_were_published() -> None:
    starling = ("Nexusflow/Starling-RM-34B", "value-head", "chatml")
    expected = {
        "SteamSHP": ("stanfordnlp/SteamSHP-flan-t5-xl", "t5-preference", None),
        "OASST": ("OpenAssistant/reward-model-deberta-v3-large-v2", "deberta-pair", None),
        "UltraRM": ("openbmb/UltraRM-13b", "value-head", "ultrarm"),
        "Starling": starling,
    }
    hh = {**models("hh_reward_models"), **models("hh_gold")}
    assert {name: (each.model, each.kind, each.template) for name, each in hh.items()} == expected
    farm = {**models("alpacafarm_reward_models"), **models("alpacafarm_gold")}
    assert farm == {name: hh[name] for name in ("UltraRM", "Starling")}
    for name in PAPER:
        gold = paper(name).gold
        assert (gold.model, gold.kind, gold.template) == starling
        assert gold.model == models("hh_gold")["Starling"].model


def test_every_setting_of_table_8_is_there() -> None:
    studies = {name: paper(name) for name in PAPER}
    for study in studies.values():
        training = study.training.model_dump()
        told = {
            "ppo_epochs": 4,
            "learning_rate": 1e-5,
            "init_kl_coef": 0.2,
            "cliprange": 0.2,
            "gamma": 1.0,
            "lam": 0.95,
        }
        # Where the paper is silent: its released code.
        code = {"adap_kl_ctrl": True, "target": 6.0, "horizon": 10_000, "cliprange_value": 0.2, "score_clip": 10.0}
        assert {
            **training,
            **told,
            **code,
            "algorithm": "ppo",
            "temperature": 1.0,
            "top_p": 1.0,
            "top_k": 0,
        } == training
        assert study.policy.lora.target_modules == ("q_proj", "v_proj")
        assert study.policy.lora.alpha == 2 * study.policy.lora.r
        assert study.data.validation.place == "alpaca_eval"
        assert study.validation.temperature == 0.7
        assert study.choice is not None
        assert (study.choice.by, study.choice.every) == ("proxy", 1000)
        if study.encoder is not None:
            assert study.encoder.model == "facebook/contriever"
            assert not study.encoder.normalize
    gpus = {name: 8 if name == "vicuna_13b" else 1 for name in studies}
    per_gpu = {study.training.rollouts_per_pass // gpus[name] for name, study in studies.items()}
    assert per_gpu == {2, 4}
    assert {study.training.gradient_accumulation_steps for study in studies.values()} == {4, 8}
    assert {study.training.steps for study in studies.values()} == {5_000, 10_000}
    assert {study.training.max_new_tokens for study in studies.values()} == {512, 768}
    assert {study.policy.lora.r for study in studies.values()} == {8, 16}
    assert {study.policy.lora.dropout for study in studies.values()} == {0.05, 0.1}
    # Section 4.1 and Figure 6.
    assert {name: study.validation.every for name, study in studies.items()} == {
        name: 1000 if name.startswith("vicuna") else 500 for name in studies
    }


def test_data_are_those_of_table_7() -> None:
    def sizes(name: str) -> tuple[str, int | None, int | None]:
        data = paper(name).data
        return data.train.place, data.train_limit, data.dev_limit

    for name in PAPER:
        expected = {
            "hh": ("hh_helpful", 21_530, 1_137),
            "alpacafarm": ("alpaca_farm", 20_001, 2_000),
            "vicuna": ("sharegpt", 53_554 + 600, 600),  # dev's 600 leave train when they are read
        }[name.partition("_")[0]]
        assert sizes(name) == expected


def test_every_paper_recipe_has_a_small_one() -> None:
    small = {path.stem for path in (ROOT / "recipes/small").glob("*.yaml")}
    stems = {path.stem for path in (ROOT / "recipes/paper").glob("*.yaml")}
    assert {
        name.replace("sharegpt_135m", "vicuna_7b").replace("sharegpt_360m", "vicuna_13b") for name in small
    } == stems
    for path in STUDIES:
        if path.parent.name == "small":
            twin = load_study(ROOT / "recipes/paper" / f"{path.stem}.yaml") if "sharegpt" not in path.stem else None
            if twin is not None and "reward_models" not in path.stem and "gold" not in path.stem:
                assert list(load_study(path).rewards) == list(twin.rewards)
            assert len(load_study(path).validation_steps) == 11  # as in the paper's figures
