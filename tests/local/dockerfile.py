"""Parse a Dockerfile into stages and steps, and apply its .dockerignore."""

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template


@dataclass(frozen=True)
class Step:
    instruction: str
    arguments: str

    def words(self, values: Mapping[str, str]) -> list[str]:
        return expanded(self.arguments, values).split()


@dataclass(frozen=True)
class Stage:
    name: str
    base: str
    """Another stage's name, or an image."""
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Dockerfile:
    arguments: tuple[Step, ...]
    """ARG before the first FROM."""
    stages: tuple[Stage, ...]

    @classmethod
    def read(cls, path: Path) -> "Dockerfile":
        arguments: list[Step] = []
        stages: list[Stage] = []
        for step in _steps(path.read_text(encoding="utf-8")):
            if step.instruction == "FROM":
                words = step.arguments.split()
                base, name = words[0], (words[2] if len(words) == 3 else str(len(stages)))
                stages.append(Stage(name, base, ()))
            elif stages:
                stages[-1] = Stage(stages[-1].name, stages[-1].base, (*stages[-1].steps, step))
            else:
                arguments.append(step)
        return cls(tuple(arguments), tuple(stages))

    def stage(self, name: str) -> Stage:
        return next(stage for stage in self.stages if stage.name == name)

    def steps(self, instruction: str) -> list[tuple[Stage, Step]]:
        return [(stage, step) for stage in self.stages for step in stage.steps if step.instruction == instruction]

    def entrypoint(self, stage: str) -> list[str]:
        (found,) = (step for step in self.stage(stage).steps if step.instruction == "ENTRYPOINT")
        parsed: list[str] = json.loads(found.arguments)
        return parsed


def expanded(text: str, values: Mapping[str, str]) -> str:
    """Raise KeyError for a variable that no ARG and no ENV declares."""
    return Template(text).substitute(values)


def context(root: Path, ignore: Path, to: Path) -> None:
    """Copy the files that the .dockerignore allows: the last matching rule decides, also for the files below."""
    rules = [
        (_pattern(line.removeprefix("!")), line.startswith("!"))
        for line in ignore.read_text(encoding="utf-8").splitlines()
        if line.strip() and not line.startswith("#")
    ]
    for path in _files(root):
        parts = path.relative_to(root).parts
        fits = [kept for pattern, kept in rules if any(pattern.fullmatch("/".join(parts[:n])) for n in _upto(parts))]
        if not fits or fits[-1]:
            (to / "/".join(parts)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, to / "/".join(parts))


def _files(root: Path) -> Iterator[Path]:
    """Not `rglob`, which fails if a folder disappears meanwhile: other tests write into this tree."""
    for folder, folders, names in os.walk(root):
        if Path(folder) == root:
            folders[:] = [name for name in folders if name not in (".venv", ".git")]  # allowed by no rule
        yield from (path for name in names if (path := Path(folder, name)).is_file())


def _upto(parts: tuple[str, ...]) -> range:
    return range(1, len(parts) + 1)


def _pattern(rule: str) -> re.Pattern[str]:
    escaped = re.escape(rule.strip("/")).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
    return re.compile(escaped)


def _steps(text: str) -> Iterator[Step]:
    lines = "\n".join(line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    for line in lines.replace("\\\n", " ").splitlines():
        instruction, _, arguments = line.strip().partition(" ")
        yield Step(instruction.upper(), arguments.strip())
