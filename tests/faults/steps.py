"""The failpoints at which a process can die, read from the code."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
STEP = re.compile(r'failpoints\.step\("([a-z_.]+)"\)')


def steps() -> list[str]:
    found = [
        name
        for folder in ("layers", "local", "functions")
        for file in sorted((ROOT / folder).rglob("*.py"))
        for name in STEP.findall(file.read_text(encoding="utf-8"))
    ]
    return sorted(found)
