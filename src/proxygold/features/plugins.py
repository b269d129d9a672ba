"""Files of a user's own features, and finding a feature again in another process."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from contextlib import suppress
from pathlib import Path

from proxygold.errors import RewardError
from proxygold.features.registry import find_feature, forget_module, registered_feature

__all__ = ["load_plugin", "restore_feature"]


def load_plugin(path: str | Path) -> None:
    """Run a Python file of `@feature` functions and classes, so that reward lines can use them.

    The file is the user's own and runs with the user's rights, as any import does. Reading it twice changes
    nothing. Raises RewardError when it does not exist or fails; nothing of it is registered then.
    """
    file = Path(path).resolve()
    if not file.is_file():
        raise RewardError(f"there is no plug-in file {path}. Give the path of a Python file with @feature functions.")
    # The path's hash keeps two plug-ins of one file name apart.
    name = f"proxygold_plugin_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise RewardError(f"the plug-in {path} is no Python file: its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        forget_module(name)
        if isinstance(error, RewardError):
            raise
        raise RewardError(f"the plug-in {path} failed: {type(error).__name__}: {error}.") from error


def restore_feature(name: str, module: str, file: str) -> None:
    """Make sure that a user's feature is registered in this process, from the module or the file that once defined it.

    Raises RewardError when neither can be read here, or neither defines the feature.
    """
    if registered_feature(name) is None and module != "__main__":
        # A module that cannot be imported here may still be read as a file.
        with suppress(ImportError):
            importlib.import_module(module)
    if registered_feature(name) is None and file:
        load_plugin(file)
    if find_feature(name) is None:
        raise RewardError(
            f"the feature {name!r} is not known in this process: it was defined in {file or module}. "
            "Define it in a file and give that file in plugins=, so that other processes find it."
        )
