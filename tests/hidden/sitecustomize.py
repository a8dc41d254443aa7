"""Python imports it at its start where this folder is on PYTHONPATH: see tests/installed.py."""

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder


class Hidden(MetaPathFinder):
    def __init__(self, modules: Sequence[str]) -> None:
        self.modules = frozenset(modules)

    def find_spec(self, name: str, *_: object) -> None:
        if name.partition(".")[0] in self.modules:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Hidden(os.environ["HIDDEN_MODULES"].split()))
