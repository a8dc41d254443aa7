"""infra/aws/deploy: its calls of AWS and their order. `aws` is a fake that records its arguments."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.infra.cloudformation import FOLDER

AWS = r"""#!/usr/bin/env bash
printf '%s\n' "$*" >> "$CALLS"
case "$1 $2" in
    "cloudformation package")
        while [ $# -gt 0 ]; do [ "$1" = --output-template-file ] && touch "$2"; shift; done ;;
    "ssm get-parameters-by-path")
        printf '/%s/database/url\t3\n/%s/network/subnet-a\t1\n' "${4#/}" "${4#/}" ;;
    "secretsmanager describe-secret")
        [ -z "${NO_SECRET:-}" ] ;;
    "lambda invoke")
        echo '{"before": null, "now": "0002"}' > "${@: -1}"
        echo "${FUNCTION_ERROR:-None}" ;;
esac
"""

Deploy = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    return tmp_path / "calls"


@pytest.fixture
def deploy(tmp_path: Path, calls: Path) -> Deploy:
    """In a copy of the folder with a fake build."""
    aws = tmp_path / "root/infra/aws"
    shutil.copytree(FOLDER, aws, ignore=shutil.ignore_patterns("dist", "__pycache__"))
    (aws / "build").write_text('#!/usr/bin/env bash\nmkdir -p infra/aws/dist; echo build >> "$CALLS"\n')
    program = tmp_path / "bin/aws"
    program.parent.mkdir()
    program.write_text(AWS)
    program.chmod(0o755)

    def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(aws / "deploy"), *arguments],
            env={"PATH": f"{program.parent}:{os.environ['PATH']}", "CALLS": str(calls), **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def steps(calls: Path) -> list[str]:
    """`build`, `invoke NAME`, or the stack's name."""
    found = []
    for line in calls.read_text().splitlines() if calls.exists() else []:
        words = line.split()
        if words[0] == "build":
            found.append("build")
        elif words[1] == "invoke":
            found.append(f"invoke {words[words.index('--function-name') + 1]}")
        elif words[1] == "deploy":
            found.append(words[words.index("--stack-name") + 1])
    return found


FUNCTIONS = ("functions", "--bucket", "zips", "--topic", "arn:aws:sns:x")


def test_the_network_comes_before_the_stores(deploy: Deploy, calls: Path) -> None:
    assert deploy("stores", "--bucket", "zips").returncode == 0
    assert steps(calls) == ["tidings-network", "tidings-stores"]


def test_the_migration_comes_before_the_functions_and_mappings(deploy: Deploy, calls: Path) -> None:
    """The schema before the functions, the queues before their mappings."""
    done = deploy(*FUNCTIONS)
    assert done.returncode == 0, done.stderr
    order = ["build", "tidings-migrate", "invoke tidings-migrate"]
    assert steps(calls) == [*order, "tidings-functions", "tidings-aliases", "tidings-mappings", "tidings-watch"]
    assert '"now": "0002"' in done.stdout


def test_a_migration_that_fails_leaves_the_functions_as_they_are(deploy: Deploy, calls: Path) -> None:
    done = deploy(*FUNCTIONS, FUNCTION_ERROR="Unhandled")
    assert done.returncode == 2
    assert "the migration failed" in done.stderr
    assert steps(calls)[-1] == "invoke tidings-migrate"


def test_stores_of_a_release_before_receipts_are_updated_first(deploy: Deploy, calls: Path) -> None:
    """Else the function sms would not start: it reads a secret that is not there."""
    done = deploy(*FUNCTIONS, "--name", "staging", NO_SECRET="1")
    assert done.returncode == 2
    assert "the secret staging/receipts is missing" in done.stderr
    assert steps(calls) == []


def test_a_parameter_and_a_name_go_to_every_stack(deploy: Deploy, calls: Path) -> None:
    assert deploy(*FUNCTIONS, "--name", "staging", "EmailShards=1,2").returncode == 0
    stacks = [line for line in calls.read_text().splitlines() if line.startswith("cloudformation deploy")]
    assert len(stacks) == 5
    assert all("Name=staging" in line and line.endswith("EmailShards=1,2") for line in stacks)
    assert steps(calls)[2] == "invoke staging-migrate"
    assert "Topic=arn:aws:sns:x" in stacks[-1]


def test_each_stack_gets_the_version_of_each_ssm_value(deploy: Deploy, calls: Path) -> None:
    """After a restore `/tidings/database/url` has another, and the functions are updated to it."""
    assert deploy(*FUNCTIONS, "--name", "my-staging").returncode == 0
    stacks = [line for line in calls.read_text().splitlines() if line.startswith("cloudformation deploy")]
    assert all(" DatabaseUrlVersion=3 NetworkSubnetAVersion=1" in line for line in stacks)
    assert "ssm get-parameters-by-path --path /my-staging --recursive" in calls.read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "--bucket is missing"),
        (("functions", "--bucket", "zips"), "--topic is missing"),
        (("all", "--bucket", "zips"), "say what"),
        (("stores", "--bucket", "zips", "--force"), "--force is not known"),
        (("stores", "--bucket"), "--bucket"),
    ],
)
def test_a_missing_or_unknown_argument_is_one_line_and_changes_nothing(
    deploy: Deploy, calls: Path, arguments: tuple[str, ...], says: str
) -> None:
    done = deploy(*arguments)
    assert done.returncode != 0
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert steps(calls) == []
