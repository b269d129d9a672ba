"""Features of installed packages: a small wheel, installed by pip into a directory of its own."""

import base64
import csv
import hashlib
import io
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from proxygold import Example, feature, reward
from proxygold.errors import RewardError
from proxygold.features.installed import offered_names
from proxygold.features.registry import registered_feature

MODULES = {
    # Imported beside the feature, to see when.
    "tiny_hedging/__init__.py": "import os\nprint('tiny_hedging is imported', flush=True)\n",
    "tiny_hedging/hedging.py": (
        "from proxygold import feature\n\n"
        "@feature('tiny_hedging')\n"
        "class Hedging:\n"
        "    def __init__(self, *, word='perhaps'):\n        self.word = word\n"
        "    def score(self, examples):\n"
        "        return [example.completion.lower().count(self.word) for example in examples]\n"
    ),
    "tiny_broken.py": "import a_module_that_is_not_there\n",
    "tiny_silent.py": "x = 1\n",
}
ENTRY_POINTS = """[proxygold.features]
tiny_hedging = tiny_hedging.hedging
tiny_broken = tiny_broken
tiny_silent = tiny_silent
tiny_attribute = tiny_silent:missing
tiny_own = tiny_broken
"""


def write_wheel(directory: Path, name: str, files: dict[str, str]) -> Path:
    """A wheel as the specification has it (PyPA, binary distribution format)."""
    info = f"{name}-1.2.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.2\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = io.StringIO()
    rows = csv.writer(record)
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.writerow([path, f"sha256={digest}", len(text.encode())])
    rows.writerow([f"{info}/RECORD", "", ""])
    wheel = directory / f"{name}-1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record.getvalue()}.items():
            archive.writestr(path, text)
    return wheel


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with two packages, of which the second offers what the first does too."""
    root = tmp_path_factory.mktemp("wheels")
    first = write_wheel(root, "tiny_rewards", {**MODULES, "tiny_rewards-1.2.dist-info/entry_points.txt": ENTRY_POINTS})
    twice = "[proxygold.features]\ntiny_twice = tiny_twice\n"
    others = [
        write_wheel(root, name, {f"{name}.py": "", f"{name}-1.2.dist-info/entry_points.txt": twice})
        for name in ("tiny_one", "tiny_other")
    ]
    target = root / "site"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", target]
    subprocess.run([*command, first, *others], check=True, capture_output=True)
    return target


def run(installed: Path, code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)


def test_a_package_is_imported_when_a_line_first_uses_its_feature(installed: Path) -> None:
    done = run(
        installed,
        "import sys, proxygold\nfrom proxygold import Example, reward\n"
        "print(reward('LI * RP'), 'tiny_hedging' in sys.modules, flush=True)\n"
        "made = reward('LI * tiny_hedging(word=\"maybe\")')\n"
        "print(made.score([Example('q', 'Maybe so, maybe')]).total)\n",
    )
    # LI: Maybe, so, a comma, maybe: 0.04, times 2.
    assert done.stdout == "LI * RP False\ntiny_hedging is imported\n[0.08]\n", done.stderr


@pytest.fixture
def on_path(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(installed)


@pytest.mark.usefixtures("on_path")
def test_a_reward_with_it_pickles_by_its_module(installed: Path) -> None:
    made = reward("tiny_hedging")
    assert made.score([Example("q", "perhaps")]).total.tolist() == [1.0]
    code = (
        f"import pickle\nmade = pickle.loads({pickle.dumps(made)!r})\n"
        "from proxygold import Example\nprint(made.reward_id, made.score([Example('q', 'perhaps')]).total)"
    )
    assert run(installed, code).stdout.splitlines()[-1] == f"{made.reward_id} [1.]"


@pytest.mark.usefixtures("on_path")
def test_a_package_that_fails_is_named() -> None:
    with pytest.raises(RewardError) as caught:
        reward("LI * tiny_broken")
    assert str(caught.value) == (
        "the package tiny-rewards 1.2 offers the feature 'tiny_broken', and importing tiny_broken failed: "
        "ModuleNotFoundError: No module named 'a_module_that_is_not_there'. Mend or update tiny-rewards 1.2, or "
        "uninstall it."
    )
    with pytest.raises(RewardError, match="importing tiny_silent:missing failed: AttributeError"):
        reward("tiny_attribute")
    with pytest.raises(RewardError, match="'tiny_silent', and importing it registers none of that name"):
        reward("tiny_silent")
    with pytest.raises(RewardError, match="'tiny_twice' is offered by tiny-o.* 1.2 and tiny-o.* 1.2. Uninstall all"):
        reward("tiny_twice")


@pytest.mark.usefixtures("on_path")
def test_what_is_offered_is_among_the_suggestions() -> None:
    with pytest.raises(RewardError, match="Did you mean tiny_broken") as caught:
        reward("tiny_brokn")
    assert "tiny_silent" in str(caught.value)
    assert {"tiny_hedging", "tiny_broken", "tiny_silent", "tiny_attribute", "tiny_twice"} <= set(offered_names())


@pytest.mark.usefixtures("on_path")
def test_ones_own_feature_comes_before_an_offered_one() -> None:
    feature("tiny_own")(lambda example: 3.0)
    assert reward("tiny_own").score([Example("q", "c")]).total.tolist() == [3.0]
    own = registered_feature("tiny_own")
    assert own is not None
    assert own.module == __name__


def test_without_the_package_the_name_is_unknown() -> None:
    with pytest.raises(RewardError, match="unknown name 'tiny_twice'"):
        reward("tiny_twice")


def test_the_command_line_finds_it_too(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"prompt": "q", "completion": "perhaps"}\n')
    command = [Path(sys.executable).with_name("proxygold"), "score", "in.jsonl", "--reward", "tiny_hedging"]
    done = subprocess.run(
        [*map(str, command), "--out", "out.jsonl"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(installed)},
    )
    assert done.returncode == 0, done.stderr
    assert '"reward": 1.0' in (tmp_path / "out.jsonl").read_text().replace('"reward":1.0', '"reward": 1.0')
