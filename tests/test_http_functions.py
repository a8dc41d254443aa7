"""Each HTTP function has its line in each file that deploys the functions, as each channel has (test_channels.py)."""

import pytest
from tidings.domain.channels import CHANNELS

from tests.test_channels import ROOT, Line, copied, listed

HTTP_FUNCTIONS = sorted({main.parent.name for main in (ROOT / "functions").glob("*/main.py")} - set(CHANNELS))

LINES = (
    Line(file="local/compose.yaml", pattern=r"^  CHANNEL:$", add="the service CHANNEL"),
    copied("infra/kubernetes/base/CHANNEL.yaml", r"^kind: Service\nmetadata:\n  name: CHANNEL$"),
    listed("infra/kubernetes/base/kustomization.yaml", r"^  - CHANNEL\.yaml$", "CHANNEL.yaml to resources"),
    listed("infra/kubernetes/base/network.yaml", r"podSelector:\n.*name: CHANNEL\}\n.*Ingress", "who reaches CHANNEL"),
    listed("infra/kubernetes/components/metrics/network.yaml"),
    listed(
        "infra/kubernetes/components/authority/kustomization.yaml", r"name: \S*\bCHANNEL\b", "CHANNEL to its target"
    ),
    listed("infra/kubernetes/overlays/example/kustomization.yaml", r"name: tidings-CHANNEL\b", "its image"),
    listed("infra/observability/prometheus.yaml", r'"CHANNEL:8080"', '"CHANNEL:8080" to the targets'),
    copied("infra/cloudrun/CHANNEL.yaml", r"tidings\.runtime\.server, CHANNEL,"),
    Line(file="infra/aws/template.yaml", pattern=r"functions/CHANNEL/main\.handler", add="the function CHANNEL"),
    Line(file="infra/aws/template.yaml", pattern=r"/aws/lambda/\$\{Name\}-CHANNEL\"", add="the log group of CHANNEL"),
    listed("infra/aws/watch.yaml", r"\[[^\]]*\bCHANNEL\b[^\]]*\]", "CHANNEL to Functions"),
    listed("infra/aws/watch.yaml", r'"\$\{Name\}-CHANNEL\\"', "CHANNEL to the dashboard"),
)


@pytest.mark.parametrize("line", LINES, ids=str)
@pytest.mark.parametrize("function", HTTP_FUNCTIONS)
def test_each_file_that_deploys_the_functions_names_this_one(function: str, line: Line) -> None:
    assert line.missing(function) is None


def test_a_function_that_is_not_deployed_is_told_with_the_file_and_what_to_add() -> None:
    said = [line.missing("gadget") for line in LINES]
    assert None not in said
    assert "infra/cloudrun/gadget.yaml: add the file, like that of another channel" in said
    assert "infra/aws/template.yaml: add the function gadget" in said
