"""The four targets."""

from collections.abc import Mapping

from tests.capacity.aws import on_lambda
from tests.capacity.containers import cloud_run, kubernetes
from tests.capacity.demand import Demand
from tests.capacity.machine import one_machine
from tests.capacity.model import Target

MACHINE, KUBERNETES, LAMBDA, RUN = "One machine", "Kubernetes with KEDA", "AWS Lambda", "Cloud Run"


def targets(demand: Demand) -> Mapping[str, Target]:
    return {
        MACHINE: lambda rate: one_machine(demand, rate),
        KUBERNETES: lambda rate: kubernetes(demand, rate),
        LAMBDA: lambda rate: on_lambda(demand, rate),
        RUN: lambda rate: cloud_run(demand, rate),
    }
