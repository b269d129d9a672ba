"""What `import proxygold` gives, and what it must not load."""

import subprocess
import sys

import pytest

import proxygold


def test_importing_the_package_and_a_lexical_reward_loads_nothing_heavy() -> None:
    code = (
        "import sys, proxygold\n"
        "from proxygold import Example, Reward, Scored, feature, reward\n"
        "reward('LI * RP').score([Example('a', 'b')])\n"
        "reward('RER')\n"
        "heavy = {'torch', 'transformers', 'pyarrow', 'sentence_transformers', 'scipy', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_importing_the_package_alone_loads_not_even_numpy() -> None:
    code = "import sys, proxygold; assert 'numpy' not in sys.modules; proxygold.__version__"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_exports() -> None:
    assert dir(proxygold) == sorted(proxygold.__all__)
    assert all(getattr(proxygold, name) is not None for name in proxygold.__all__)
    with pytest.raises(AttributeError, match=r"no attribute 'rewrad'; it has Example, Reward"):
        proxygold.rewrad  # noqa: B018
