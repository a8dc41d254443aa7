"""Each function's AWS permissions: no more than it needs."""

import fnmatch
import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest
from tidings.domain.channels import CHANNELS

from tests.infra.cloudformation import environment, functions, of_type, resources

FUNCTIONS = ("intake", "replay", "receipts", "sweep", *CHANNELS)

NO_NARROWER = re.compile(r"^ec2:(Describe|Create|Delete|Assign|Unassign)\w+$")
"""Of Lambda's own on network interfaces: AWS's policy for it has "*" as well, and the code is denied them."""


def statements(name: str) -> Iterator[dict[str, Any]]:
    """Every one of a function's role, of the managed policies too."""
    where = "migrate" if name == "migrate" else "template"
    every = resources(where)
    role = every[functions()[name]["Role"]["Fn::GetAtt"][0]]["Properties"]
    policies = [one["PolicyDocument"] for one in role["Policies"]]
    policies += [every[one["Ref"]]["Properties"]["PolicyDocument"] for one in role.get("ManagedPolicyArns", ())]
    yield from itertools.chain.from_iterable(policy["Statement"] for policy in policies)


def listed(value: str | list[str]) -> list[Any]:
    return [value] if isinstance(value, str | dict) else value


@pytest.mark.parametrize("name", [*FUNCTIONS, "migrate"])
def test_no_role_may_all_of_anything(name: str) -> None:
    for statement in statements(name):
        actions = listed(statement["Action"])
        assert not [action for action in actions if "*" in action]
        if "*" in listed(statement["Resource"]):
            assert all(NO_NARROWER.match(action) for action in actions), actions


@pytest.mark.parametrize("name", [*FUNCTIONS, "migrate"])
def test_its_code_may_not_touch_the_network(name: str) -> None:
    allowed, denied = set(), set()
    for statement in statements(name):
        actions = {one for one in listed(statement["Action"]) if one.startswith("ec2:")}
        if statement["Effect"] == "Deny":
            ((_, condition),) = statement["Condition"].items()
            pattern = condition["lambda:SourceFunctionArn"]
            assert fnmatch.fnmatch(f"arn:aws:lambda:eu-central-1:123456789012:function:tidings-{name}", pattern)
            denied |= actions
        else:
            allowed |= actions
    assert allowed - denied <= {"ec2:DescribeSecurityGroups", "ec2:DescribeVpcs"}
    assert len(denied) == 6


@pytest.mark.parametrize("name", [*FUNCTIONS, "migrate"])
def test_a_function_may_read_the_secrets_that_it_names_and_no_others(name: str) -> None:
    may = {
        resource
        for statement in statements(name)
        if listed(statement["Action"]) == ["secretsmanager:GetSecretValue"]
        for resource in listed(statement["Resource"])
    }
    named = {
        f"arn:aws:secretsmanager:eu-central-1:123456789012:secret:{found}-??????"
        for value in environment(name).values()
        for found in re.findall(r"^secretsmanager:([^#]+)", value)
    }
    stores = {"{{resolve:ssm:/tidings/database/secret:1}}", "{{resolve:ssm:/tidings/broker/secret:1}}"}
    if not environment(name)["TIDINGS_BROKER_URL"]:
        stores.remove("{{resolve:ssm:/tidings/broker/secret:1}}")
    assert may == {*named, *stores}
    made = {one["Name"] for one in of_type("stores", "AWS::SecretsManager::Secret").values()}
    assert {re.split(r"secret:|-\?", one)[1] for one in named} <= made


def test_the_authorizer_may_only_write_its_log() -> None:
    (policy,) = resources("template")["NetworksRole"]["Properties"]["Policies"]
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert statement["Action"] == ["logs:CreateLogStream", "logs:PutLogEvents"]
    assert statement["Resource"] == {"Fn::GetAtt": ["NetworksLogs", "Arn"]}
    assert "ManagedPolicyArns" not in resources("template")["NetworksRole"]["Properties"]
    assert "VpcConfig" not in resources("template")["Networks"]["Properties"]  # so it reaches no database


@pytest.mark.parametrize("name", FUNCTIONS)
def test_only_queue_functions_may_look_up_the_broker(name: str) -> None:
    actions = {action for one in statements(name) for action in listed(one["Action"]) if one["Effect"] == "Allow"}
    needed = {"mq:DescribeBroker", "ec2:DescribeSecurityGroups", "ec2:DescribeVpcs"}
    assert actions & needed == (needed if name in CHANNELS else set())
    assert {"logs:CreateLogStream", "logs:PutLogEvents", "ec2:CreateNetworkInterface"} <= actions
