"""The templates for AWS: valid, and correct where the validator does not check."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tidings.adapters.rabbitmq.broker import BrokerSettings
from tidings.adapters.sql.database import DatabaseSettings
from tidings.api.receipts import RECEIPT
from tidings.api.unsubscribe import ASK, OPT_OUT
from tidings.config.settings import Settings, load
from tidings.domain.channels import CHANNELS
from tidings.domain.errors import ConfigurationError
from tidings.domain.notification import Priority
from tidings.domain.timing import PURGE_FOR, SWEEP_FOR
from tidings.messaging import topology
from tidings.observability.logging import LogSettings
from tidings.pipeline.proof import ProofSettings, Signer
from tidings.providers.fcm.provider import FcmSettings
from tidings.providers.smtp.provider import SmtpProvider
from tidings.providers.smtp.settings import SmtpSettings
from tidings.providers.twilio.provider import TwilioProvider
from tidings.providers.twilio.settings import TwilioSettings
from tidings.providers.webhooks.settings import WebhookSettings
from tidings.runtime.container import DeliverySettings, RetentionSettings
from tidings.runtime.telemetry import TelemetrySettings

from tests.infra.cloudformation import FOLDER, NAMES, environment, functions, of_type, resources
from tests.settings_page import settings_classes

FUNCTIONS = ("intake", "replay", "receipts", "sweep", *CHANNELS)
CODE = {"sweep": "replay"}
"""Functions that run another function's code."""
OWN = 60.0
"""Seconds that claiming, settling and publishing may take, besides the providers' calls."""

PUBLIC_RECEIPTS = {f"{one.method} {one.path}" for one in (RECEIPT, ASK, OPT_OUT)}

GIVEN = {"Topic": "arn:aws:sns:eu-central-1:123456789012:tidings"}


def mappings(**given: Any) -> list[dict[str, Any]]:
    return list(of_type("mappings", "AWS::Lambda::EventSourceMapping", **given).values())


# --- valid ------------------------------------------------------------------------------------------------------------


def test_the_validator_finds_nothing() -> None:
    program = Path(sys.executable).with_name("cfn-lint")
    files = [str(FOLDER / f"{name}.yaml") for name in NAMES]
    done = subprocess.run([program, *files], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_none_uses_yaml_aliases() -> None:
    """CloudFormation refuses them; the validator does not."""
    assert sorted(path.stem for path in FOLDER.glob("*.yaml")) == sorted(NAMES)
    for name in NAMES:
        assert not re.search(r"[:\-] [&*]\w", (FOLDER / f"{name}.yaml").read_text()), name


def test_an_earlier_stack_exports_every_value_that_is_imported() -> None:
    """Through SSM parameters, because each is its own stack."""
    there: set[str] = set()
    for name in NAMES:
        taken = set(re.findall(r"\{\{resolve:ssm:(/[^:}]+)", json.dumps(resources(name, **_given(name)))))
        put = {one["Name"] for one in of_type(name, "AWS::SSM::Parameter").values()} if name != "watch" else set()
        assert taken <= there | put, name
        there |= put
    assert len(there) > 10


@pytest.mark.parametrize("name", NAMES)
def test_a_value_that_changes_changes_the_template(name: str) -> None:
    """A restore puts another database's URL into SSM. CloudFormation looks at a template's text, not at the value:
    https://github.com/aws-cloudformation/cloudformation-coverage-roadmap/issues/844"""
    text = (FOLDER / f"{name}.yaml").read_text()
    for path, version in re.findall(r"resolve:ssm:/\$\{Name\}/([a-z/-]+)([^}]*\}?)\}\}", text):
        words = re.split("[/-]", path)
        assert version == f":${{{''.join(map(str.capitalize, words))}Version}}", path


def _given(name: str) -> dict[str, Any]:
    return GIVEN if name == "watch" else {}


# --- the functions ----------------------------------------------------------------------------------------------------


def test_each_function_is_there_with_its_zip_and_its_path() -> None:
    assert sorted(functions()) == sorted((*FUNCTIONS, "migrate"))
    for name in FUNCTIONS:
        one = functions()[name]
        code = CODE.get(name, name)
        assert (one["Handler"], one["CodeUri"]) == (f"functions/{code}/main.handler", f"dist/{code}.zip")
        assert (FOLDER.parents[1] / f"functions/{code}/main.py").is_file()
    assert functions()["migrate"]["Handler"] == "infra/aws/migrate.handler"


def test_all_run_on_one_python_and_one_machine_the_layers_too() -> None:
    layers = [
        one for name in ("template", "migrate") for one in of_type(name, "AWS::Serverless::LayerVersion").values()
    ]
    runs = {(one["Runtime"], *one["Architectures"]) for one in functions().values()}
    made = {(*one["CompatibleRuntimes"], *one["CompatibleArchitectures"]) for one in layers}
    assert runs == made
    assert len(runs) == 1


def test_each_function_is_in_the_network_and_has_a_log_retention() -> None:
    logs = {**of_type("template", "AWS::Logs::LogGroup"), **of_type("migrate", "AWS::Logs::LogGroup")}
    names = {one["LogGroupName"]: one["RetentionInDays"] for one in logs.values()}
    assert names == {f"/aws/lambda/tidings-{name}": 30 for name in (*functions(), "networks")}
    for one in functions().values():
        assert len(one["VpcConfig"]["SubnetIds"]) == 3
        assert one["LoggingConfig"]["LogGroup"]
        assert "Tracing" not in one


def test_every_setting_exists_and_has_a_valid_value() -> None:
    known = {cls.variable(field): cls for cls in settings_classes() for field in cls.model_fields}
    for name in functions():
        assert set(environment(name)) <= set(known), name
        plain = {key: value for key, value in environment(name).items() if "secretsmanager:" not in value}
        for cls in {known[key] for key in plain} & {DatabaseSettings, DeliverySettings, RetentionSettings, LogSettings}:
            load(cls, {key: value for key, value in plain.items() if not value.startswith("{{")})
        assert load(TelemetrySettings, environment(name)).metrics == ("emf" if name != "migrate" else "off")


def test_no_template_contains_a_secret() -> None:
    """Environment variables refer to the secrets."""
    for name in functions():
        for key, value in environment(name).items():
            if key == "TIDINGS_RECEIPTS_URL" or (key, value) == ("TIDINGS_BROKER_URL", ""):
                continue  # our own public address, and no broker
            if re.search("KEY|TOKEN|ACCOUNT|URL|SENDER|SECRET", key):
                assert re.match(r"secretsmanager:tidings/[a-z]+(#[a-z_]+)?$|\{\{resolve:ssm:", value), key


def test_intake_answers_before_its_api_gives_up_and_holds_few_connections() -> None:
    intake = functions()["intake"]
    assert intake["Timeout"] < 30  # seconds: an HTTP API's most
    most = 340  # connections, of the database's default class
    of_intake = intake["ReservedConcurrentExecutions"] * int(environment("intake")["TIDINGS_DATABASE_POOL"])
    of_channels = len(mappings()) * int(environment("email")["TIDINGS_DATABASE_POOL"])
    of_operators = functions()["replay"]["ReservedConcurrentExecutions"] * int(
        environment("replay")["TIDINGS_DATABASE_POOL"]
    )
    of_sweep = functions()["sweep"]["ReservedConcurrentExecutions"] * int(environment("sweep")["TIDINGS_DATABASE_POOL"])
    of_receipts = functions()["receipts"]["ReservedConcurrentExecutions"] * int(
        environment("receipts")["TIDINGS_DATABASE_POOL"]
    )
    assert of_intake + of_channels + of_operators + of_sweep + of_receipts < most / 2


def test_the_receipts_api_has_the_public_routes_alone_and_is_limited() -> None:
    """Its address is public, so everything else of the function stays closed. Twilio waits 15 s for an answer."""
    api = {"Ref": "ReceiptsApi"}
    routes = of_type("template", "AWS::ApiGatewayV2::Route").values()
    assert {one["RouteKey"] for one in routes} == PUBLIC_RECEIPTS
    assert all(one["ApiId"] == api for one in routes)
    (stage,) = of_type("template", "AWS::ApiGatewayV2::Stage").values()
    assert stage["DefaultRouteSettings"] == {"ThrottlingRateLimit": 500, "ThrottlingBurstLimit": 500}
    (integration,) = of_type("template", "AWS::ApiGatewayV2::Integration").values()
    assert integration["IntegrationUri"] == {"Fn::GetAtt": ["Receipts", "Arn"]}
    assert integration["PayloadFormatVersion"] == "2.0"
    receipts = functions()["receipts"]
    assert "Events" not in receipts
    assert receipts["Timeout"] < 15
    assert (stage["ApiId"], stage["StageName"]) == (api, "$default")


def test_channels_name_the_receipts_apis_address_and_have_its_secret() -> None:
    names = ("TIDINGS_RECEIPTS_URL", "TIDINGS_RECEIPTS_SECRET")
    receipts, *channels = ([environment(part)[name] for name in names] for part in ("receipts", "sms", "email", "push"))
    assert all(channel == receipts for channel in channels)
    assert re.fullmatch(r"https://\$\{ReceiptsApi\}\.execute-api\.eu-central-1\.amazonaws\.com", receipts[0])
    made = of_type("stores", "AWS::SecretsManager::Secret")["ReceiptsSecret"]["GenerateSecretString"]
    assert made["PasswordLength"] >= 32


def test_the_generated_key_of_proofs_is_one() -> None:
    """43 letters and digits are base64 of 32 bytes, without the `=` at the end."""
    made = of_type("stores", "AWS::SecretsManager::Secret")["ProofSecret"]["GenerateSecretString"]
    assert made["ExcludePunctuation"] is True
    for drawn in ("A", "z", "9"):
        signer = Signer.from_settings(load(ProofSettings, {"TIDINGS_PROOF_KEY": drawn * made["PasswordLength"]}))
        assert signer is not None
        assert len(signer.seed) == 32


def test_api_requests_cannot_use_up_the_sweeps_environments() -> None:
    assert list(functions()["sweep"]["Events"]) == ["Sweep"]
    assert list(functions()["replay"]["Events"]) == ["Http"]
    assert functions()["sweep"]["ReservedConcurrentExecutions"] >= 2  # one that is late to end, and the next
    assert functions()["replay"]["ReservedConcurrentExecutions"] > 0
    assert functions()["replay"]["Timeout"] < 30  # seconds: an HTTP API's most
    assert {k: v for k, v in environment("sweep").items() if "POOL" not in k} == {
        k: v for k, v in environment("replay").items() if "POOL" not in k
    }


def test_only_operators_networks_reach_replays_api() -> None:
    """By default none. Checked for each request, before replay is invoked."""
    auth = of_type("template", "AWS::Serverless::HttpApi")["ReplayApi"]["Auth"]
    authorizer = auth["Authorizers"][auth["DefaultAuthorizer"]]
    assert authorizer["FunctionArn"] == {"Fn::GetAtt": ["Networks", "Arn"]}
    assert (authorizer["EnableSimpleResponses"], authorizer["AuthorizerPayloadFormatVersion"]) == (True, "2.0")
    assert authorizer["Identity"] == {"ReauthorizeEvery": 0}
    networks = resources("template")["Networks"]["Properties"]
    assert networks["Environment"]["Variables"]["OPERATORS_FROM"] == {"Fn::Join": [",", "127.0.0.1/32"]}
    given = {"OPERATORS_FROM": "192.0.2.0/24, 2001:db8::/32"}
    program = (
        f"import json, sys\n{networks['Code']['ZipFile']}\n"
        "events = [{'requestContext': {'http': {'sourceIp': one}}} for one in sys.argv[1:]]\n"
        "print([handler(event, None)['isAuthorized'] for event in events])"
    )
    callers = ["192.0.2.7", "192.0.3.7", "2001:db8::1", "2001:db9::1"]
    done = subprocess.run(
        [sys.executable, "-c", program, *callers], env=given, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[True, False, True, False]"


def test_the_sweep_goes_on_for_most_of_each_minute_and_is_not_tried_again() -> None:
    function = functions()["sweep"]
    sweep = function["Events"]["Sweep"]
    assert (sweep["Type"], sweep["Properties"]["ScheduleExpression"]) == ("ScheduleV2", "rate(1 minute)")
    assert sweep["Properties"]["RetryPolicy"]["MaximumRetryAttempts"] == 0
    assert function["EventInvokeConfig"]["MaximumRetryAttempts"] == 0
    event = json.loads(sweep["Properties"]["Input"])
    assert event == {"for": 55}
    last = SWEEP_FOR + PURGE_FOR  # may begin in the last second, and goes on with its last page
    assert event["for"] + last.total_seconds() + 10 < function["Timeout"]


# --- the event source mappings ----------------------------------------------------------------------------------------


def test_every_work_queue_has_a_mapping_to_its_function_and_no_other_queue_has() -> None:
    found = {(one["FunctionName"].partition(":")[0], *one["Queues"]) for one in mappings()}
    assert found == {
        (f"tidings-{channel}", topology.work_queue(channel, priority)) for channel in CHANNELS for priority in Priority
    }
    assert len(mappings()) == len(found)


def test_no_two_mappings_are_of_one_source_to_one_function() -> None:
    """Lambda may refuse the second: `The event source arn and function provided mapping already exists`. An alias is
    another function to it, as https://docs.aws.amazon.com/lambda/latest/dg/using-aliases.html has it."""
    shards = {"EmailShards": "1,2,3", "SmsShards": "1,2", "PushShards": "1", "WebhookShards": "1"}
    invoked = [one["FunctionName"] for one in mappings(**shards)]
    assert len(set(invoked)) == len(invoked) == 3 + 2 + 1 + 1 + len(CHANNELS)
    made = of_type("aliases", "AWS::Lambda::Alias", **shards).values()
    assert {f"{one['FunctionName']}:{one['Name']}" for one in made} == set(invoked)
    assert {one["FunctionVersion"] for one in made} == {"$LATEST"}  # an update of the function is all it takes


def test_a_queue_has_one_mapping_per_shard() -> None:
    queues = [queue for one in mappings(EmailShards="1,2,3") for queue in one["Queues"]]
    assert (queues.count("tidings.email"), queues.count("tidings.email.high"), queues.count("tidings.sms")) == (3, 1, 1)


def test_a_mapping_has_only_parameters_of_amazon_mq() -> None:
    """https://docs.aws.amazon.com/lambda/latest/dg/services-mq-params.html, and what the validator does not look at."""
    for mapping in mappings(SmsShards="1,2"):
        (queue,) = mapping["Queues"]
        assert 1 <= mapping["BatchSize"] <= 10_000, queue
        assert 0 <= mapping["MaximumBatchingWindowInSeconds"] <= 300, queue
        access = {one["Type"]: one["URI"] for one in mapping["SourceAccessConfigurations"]}
        assert access == {"BASIC_AUTH": "{{resolve:ssm:/tidings/broker/secret:1}}", "VIRTUAL_HOST": "/"}, queue
        # no FunctionResponseTypes, no filter, no retries: there are none for RabbitMQ
        assert set(mapping) == {
            "EventSourceArn",
            "FunctionName",
            "Queues",
            "BatchSize",
            "MaximumBatchingWindowInSeconds",
            "SourceAccessConfigurations",
        }, queue


def test_the_brokers_secret_has_the_names_that_a_mapping_asks_for_and_the_url_too() -> None:
    secret = of_type("stores", "AWS::SecretsManager::Secret")["BrokerSecret"]["GenerateSecretString"]
    assert [*json.loads(secret["SecretStringTemplate"]), secret["GenerateStringKey"]] == ["username", "password"]
    url = of_type("stores", "AWS::SSM::Parameter")["BrokerUrlParameter"]["Value"]
    assert set(re.findall(r"#(\w+)}", url)) == {"username", "password"}
    load(BrokerSettings, {"TIDINGS_BROKER_URL": re.sub(r"\{[^}]*\}[^:@]*\}?", "x", url)})


# --- time -------------------------------------------------------------------------------------------------------------

CALLS = {
    "email": 1,
    "sms": 2,
    "push": 1,
    "webhook": 1,
}  # of the provider, for one message: `reconcile` asks before it sends


def provider_timeout(channel: str) -> float:
    """Seconds, by the settings' own defaults where the template has none."""
    owners: dict[str, type[Settings]] = {
        "email": SmtpSettings,
        "sms": TwilioSettings,
        "push": FcmSettings,
        "webhook": WebhookSettings,
    }
    owner = owners[channel]
    set_to = environment(channel).get(owner.variable("timeout"))
    return float(set_to if set_to is not None else owner.model_fields["timeout"].default)


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_full_batch_of_the_slowest_calls_ends_before_the_function(channel: str) -> None:
    delivery = load(DeliverySettings, {k: v for k, v in environment(channel).items() if "secretsmanager" not in v})
    (batch,) = {one["BatchSize"] for one in mappings() if one["FunctionName"].startswith(f"tidings-{channel}:")}
    work = math.ceil(batch / delivery.concurrency) * CALLS[channel] * provider_timeout(channel) + OWN
    assert work <= functions()[channel]["Timeout"]


def test_a_provider_that_reconciles_makes_two_calls() -> None:
    assert not hasattr(SmtpProvider, "accepted")
    assert hasattr(TwilioProvider, "accepted")


@pytest.mark.parametrize("channel", [name for name in CHANNELS if name != "webhook"])  # which keeps no connection
def test_no_call_waits_for_a_connection_to_its_provider(channel: str) -> None:
    given = environment(channel)
    (connections,) = (int(value) for key, value in given.items() if key.endswith("_CONNECTIONS"))
    assert connections >= int(given["TIDINGS_CONCURRENCY"]) + 2  # two more, for high


def test_our_share_of_the_timeout_covers_the_settings() -> None:
    """Claim, dead letters, rows and retries, if each times out once."""
    database, broker = load(DatabaseSettings, {}).database_timeout, load(BrokerSettings, {}).broker_timeout
    assert 2 * database + 2 * broker + 2 * database + 2 * broker <= OWN
    for channel in CHANNELS:
        assert not {"TIDINGS_DATABASE_TIMEOUT", "TIDINGS_BROKER_TIMEOUT"} & set(environment(channel))


# --- the stores -------------------------------------------------------------------------------------------------------


def test_the_database_is_kept_encrypted_and_rotated() -> None:
    database = resources("stores")["Database"]
    assert (database["DeletionPolicy"], database["UpdateReplacePolicy"]) == ("Snapshot", "Snapshot")
    said = database["Properties"]
    assert said["StorageEncrypted"] is said["DeletionProtection"] is said["ManageMasterUserPassword"] is True
    assert said["PubliclyAccessible"] is False
    assert said["BackupRetentionPeriod"] >= 7
    url = of_type("stores", "AWS::SSM::Parameter")["DatabaseUrlParameter"]["Value"]
    assert url.endswith("?ssl_ca=/opt/rds-ca.pem")  # where the build puts it into the layer


def test_the_broker_has_three_nodes_and_is_reached_from_inside_alone() -> None:
    broker = of_type("stores", "AWS::AmazonMQ::Broker")["Broker"]
    assert (broker["EngineType"], broker["DeploymentMode"]) == ("RABBITMQ", "CLUSTER_MULTI_AZ")
    assert broker["PubliclyAccessible"] is False
    # https://docs.aws.amazon.com/amazon-mq/latest/developer-guide/rabbitmq-4.html: RabbitMQ 4 on mq.m7g alone
    assert (broker["EngineVersion"], broker["HostInstanceType"]) == ("4.2", "mq.m7g.large")
    for name in ("DatabaseAccess", "BrokerAccess"):
        (rule,) = of_type("stores", "AWS::EC2::SecurityGroup")[name]["SecurityGroupIngress"]
        assert "CidrIp" not in rule


def test_an_unset_secret_stops_the_start() -> None:
    made = of_type("stores", "AWS::SecretsManager::Secret")
    for cls, secret in ((SmtpSettings, "SmtpSecret"), (TwilioSettings, "TwilioSecret"), (FcmSettings, "FcmSecret")):
        fields = json.loads(made[secret]["SecretString"])
        with pytest.raises(ConfigurationError):
            load(cls, {cls.variable(key): value for key, value in fields.items()})
