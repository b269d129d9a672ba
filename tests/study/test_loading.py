"""A study file is checked strictly, and every mistake names what would be right."""

from pathlib import Path

import pytest

from proxygold.errors import ConfigError
from proxygold.study.demo import demo_text
from proxygold.study.loading import load_study, parse_study

MINIMAL = """
name: small
policy: {model: smollm2-135m-instruct}
data: {train: builtin, validation: builtin}
rewards: {LI: LI}
gold: {model: gold-mini}
"""


def test_defaults_are_the_papers() -> None:
    study = parse_study(MINIMAL)
    training = study.training
    assert (training.steps, training.ppo_epochs, training.learning_rate, training.batch_size) == (
        5000,
        4,
        1e-5,
        16,
    )
    assert (training.init_kl_coef, training.target, training.horizon) == (0.2, 6, 10_000)
    assert (training.gamma, training.lam, training.cliprange, training.cliprange_value) == (1, 0.95, 0.2, 0.2)
    assert (study.validation.every, study.validation.max_new_tokens, study.validation.temperature) == (
        500,
        512,
        0.7,
    )
    assert study.validation_steps == list(range(0, 5001, 500))
    assert len(study.validation_steps) == 11  # the paper's curves have 11 points, step 0 among them


def test_the_demo_is_a_study_with_six_checkpoints_besides_step_0() -> None:
    study = parse_study(demo_text())
    assert set(study.rewards) == {"LI", "RER"}
    assert len(study.validation_steps) >= 7


def test_overrides_go_over_the_file() -> None:
    study = parse_study(MINIMAL, ["training.steps=1000", "policy.lora.r=4", "seeds=[3, 4]", "rewards.two=LI * RP"])
    assert (study.training.steps, study.policy.lora.r, study.seeds) == (1000, 4, [3, 4])
    assert study.rewards == {"LI": "LI", "two": "LI * RP"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainign.steps=5", r"trainign: unknown key\. Did you mean 'training'\?"),
        (
            "training.stepz=5",
            r"training\.stepz: unknown key\. Did you mean 'steps'\? Known here: .*ppo_epochs",
        ),
        ("policy.lora.rank=5", r"policy\.lora\.rank: unknown key\..*Known here: r, alpha"),
        ("encoder.normalise=false", r"encoder\.normalise: unknown key\. Did you mean 'normalize'\?"),
        ("training.steps=-5", r"training\.steps: input should be greater than 0 \(given: -5\)"),
        ("training.steps=ten", r"training\.steps: input should be a valid integer.*\(given: 'ten'\)"),
        ("training.steps=750", r"training\.steps \(750\) must be a multiple of validation\.every \(500\)"),
        ("training.algorithm=dpo", r"training\.algorithm: input should be 'ppo', 'grpo' or 'rloo' \(given: 'dpo'\)"),
        ("training.algorithm=", r"training\.algorithm: input should be .* \(given: 'None'\)"),
        ("training=3", r"training: must be a mapping of settings \(given: 3\)"),
        (
            "training={algorithm: grpo, lam: 1}",
            r"training\.lam: unknown key\. It is a setting of ppo, not of grpo\. Known .*beta",
        ),
        ("training.beta=0.1", r"training\.beta: unknown key\. It is a setting of grpo and rloo, not of ppo\."),
        ("training={algorithm: rloo, epsylon: 1}", r"training\.epsylon: unknown key\. Did you mean 'epsilon'\?"),
        (
            "training={algorithm: grpo, samples_per_prompt: 1}",
            r"training\.samples_per_prompt: .*greater than or equal to 2",
        ),
        (
            "training={algorithm: grpo, batch_size: 12}",
            r"training: batch_size \(12\) must be a multiple of samples_per",
        ),
        ("training={algorithm: rloo, reward_clip_range: [1, 0]}", r"training: reward_clip_range must be \[low, high\]"),
        ("name=../evil", r"name: string should match pattern .*\(given: '\.\./evil'\)\.$"),
        ("seeds=[-1]", r"seeds\.0: input should be greater than or equal to 0 \(given: -1\)"),
        ("analysis.seed=-1", r"analysis\.seed: input should be greater than or equal to 0 \(given: -1\)"),
        ("validation.seed=-1", r"validation\.seed: input should be greater than or equal to 0 \(given: -1\)"),
        ("gold.dtype=float", r"gold\.dtype: input should be 'auto', 'float32' or 'bfloat16' \(given: 'float'\)"),
        ("gold={model: a, model: b}", r"the value of 'gold=.*', line 1: the key 'model' occurs twice"),
        ("rewards={'a/b': LI}", r"'a/b' cannot name a reward: it becomes a directory"),
        ("rewards={evals: LI}", r"'evals' cannot name a reward"),
        ("seeds=[1, 1]", r"a seed occurs twice"),
        ("steps", r"'steps' is not an override\. Write key=value"),
        ("name.inner=3", r"'name' is a plain value, so nothing can be set inside it"),
        ("seeds=[1", r"the value of 'seeds=\[1' is not YAML"),
    ],
)
def test_each_mistake_says_what_is_allowed(override: str, message: str) -> None:
    text = MINIMAL + "encoder: {model: all-minilm-l6-v2}\n"
    with pytest.raises(ConfigError, match=message):
        parse_study(text, [override])


def test_a_missing_key_is_named() -> None:
    with pytest.raises(ConfigError, match=r"gold: missing\. It has no default"):
        parse_study(MINIMAL.replace("gold: {model: gold-mini}", ""))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it holds nothing"),
        ("- a\n- b", "it holds a list"),
        ("name: [", "is not YAML"),
        ("name: a\nseeds: [0]\nname: b", "line 3: the key 'name' occurs twice"),
        ("name: a\n[1, 2]: b", "line 2: a list stands where a key is wanted"),
        ("name: a\n? {a: b}\n: c", "line 2: a mapping stands where a key is wanted"),
    ],
)
def test_a_file_that_is_no_study(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_study(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no study file"):
        load_study(tmp_path / "nope.yaml")


def test_mappings_may_be_merged() -> None:
    text = MINIMAL + "validation: &short {max_new_tokens: 32}\ntraining: {<<: *short, max_new_tokens: 64, steps: 500}\n"
    study = parse_study(text)
    assert (study.validation.max_new_tokens, study.training.max_new_tokens, study.training.steps) == (32, 64, 500)
    with pytest.raises(ConfigError, match="the key 'steps' occurs twice"):
        parse_study(text.replace("steps: 500", "steps: 500, steps: 1000"))
    # PyYAML merges `b` into the encoder before it reads `b` itself: what `b` has from `a` is no second `r` of its own.
    chained = (
        "policy: {model: a, lora: &b {<<: &a {r: 4}, r: 2}}\ntraining: {}\ndata: {train: t, validation: v}\n"
        "rewards: {LI: LI}\ngold: {model: g}\nname: n\nencoder: {<<: *b}\n"
    )
    with pytest.raises(ConfigError, match=r"encoder\.r: unknown key"):
        parse_study(chained)
