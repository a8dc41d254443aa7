"""Read the templates like CloudFormation, by cfn-lint, offline: loops unrolled, SAM globals and parameters applied."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "infra/aws"
NAMES = ("network", "stores", "migrate", "template", "aliases", "mappings", "watch")
"""In deployment order."""

PSEUDO = {
    "AWS::Region": "eu-central-1",
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
}


@cache
def _plain(name: str, given: tuple[tuple[str, Any], ...]) -> str:
    from cfnlint.decode import decode  # its import takes seconds, and each worker collects all tests
    from cfnlint.template import Template

    path = str(FOLDER / f"{name}.yaml")
    read, problems = decode(path)
    assert not problems, problems
    versions = {key: 1 for key in read["Parameters"] if key.endswith("Version")}  # which deploy looks up
    defaults = {key: one["Default"] for key, one in read["Parameters"].items() if "Default" in one}
    parameters = versions | defaults | dict(given)
    for key, value in parameters.items():
        read["Parameters"][key]["Default"] = value
    template = Template(path, read, ["eu-central-1"])
    problems = template.transform()
    assert not problems, problems
    return json.dumps(_filled(json.loads(json.dumps(template.template)), {**PSEUDO, **parameters}))


def resources(name: str, **given: Any) -> dict[str, Any]:
    """By logical id: {"Type": ..., "Properties": ...}. Parameters have their default, or what is given."""
    found: dict[str, Any] = json.loads(_plain(name, tuple(given.items())))["Resources"]
    return found


def of_type(name: str, kind: str, **given: Any) -> dict[str, Any]:
    """The properties, by logical id."""
    return {key: one.get("Properties", {}) for key, one in resources(name, **given).items() if one["Type"] == kind}


def functions() -> dict[str, dict[str, Any]]:
    """By their name without `tidings-`, the migration's among them."""
    found = {**of_type("template", "AWS::Serverless::Function"), **of_type("migrate", "AWS::Serverless::Function")}
    return {one["FunctionName"].removeprefix("tidings-"): one for one in found.values()}


def environment(name: str) -> dict[str, str]:
    """A function's."""
    return {key: str(value) for key, value in functions()[name]["Environment"]["Variables"].items()}


def _filled(value: Any, known: dict[str, Any]) -> Any:
    """Resolve Ref and Fn::Sub of known names."""
    if isinstance(value, list):
        return [_filled(item, known) for item in value]
    if not isinstance(value, dict):
        return value
    filled = {key: _filled(item, known) for key, item in value.items()}
    match filled:
        case {"Ref": str(name)} if name in known:
            return known[name]
        case {"Fn::Sub": str(text)}:
            return _substituted(text, known)
        case {"Fn::Sub": [str(text), dict(more)]}:
            return _substituted(text, {**known, **more})
    return filled


def _substituted(text: str, known: dict[str, Any]) -> str:
    return re.sub(r"\$\{([\w:.]+)\}", lambda name: str(known.get(name[1], name[0])), text)
