"""Each channel has its line in each file that names the channels. A missing one is told with the file and what to add.

The code follows from two registries, `tidings.domain.channels` and `tidings.providers`. What deploys it is written out,
so that whoever deploys can read and change it.
"""

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import TypeAdapter
from tidings.domain.channels import CHANNELS
from tidings.providers import PROVIDERS

ROOT = Path(__file__).parents[1]
every_channel = pytest.mark.parametrize("channel", CHANNELS)


@dataclass(frozen=True, kw_only=True)
class Line:
    """What a file must hold for a channel. In `file`, `pattern` and `add`, CHANNEL stands for its name."""

    file: str
    pattern: str
    add: str

    def missing(self, channel: str) -> str | None:
        path = ROOT / self.file.replace("CHANNEL", channel)
        pattern = self.pattern.replace("CHANNEL", re.escape(channel))
        if path.is_file() and re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE):
            return None
        return f"{path.relative_to(ROOT)}: add {self.add.replace('CHANNEL', channel)}"

    def __str__(self) -> str:
        return f"{self.file} {self.pattern}"


def copied(file: str, pattern: str) -> Line:
    return Line(file=file, pattern=pattern, add="the file, like that of another channel")


def listed(
    file: str, pattern: str = r"\[[^\]]*\bCHANNEL\b[^\]]*\]", what: str = "CHANNEL to each list of channels"
) -> Line:
    return Line(file=file, pattern=pattern, add=what)


CODE = (
    copied("functions/CHANNEL/main.py", r'QueueFunction\("CHANNEL"\)'),
    Line(
        file="functions/CHANNEL/requirements.txt",
        pattern=r"^",
        add="the file: the packages that the function imports besides the layer, or a comment",
    ),
)
EMULATORS = (
    listed("local/emulators/records.py", r"^Channel = Literal\[.*\"CHANNEL\"", '"CHANNEL" to Channel'),
    listed("local/emulators/page.html", r"NAMES = \{.*\bCHANNEL:", "CHANNEL and its label to NAMES"),
    listed("local/emulators/page.html", r"\.CHANNEL \{", "a colour: --CHANNEL and .CHANNEL"),
)
COMPOSE = (
    Line(file="local/compose.yaml", pattern=r"^  CHANNEL:$", add="the service CHANNEL"),
    Line(file="local/compose.yaml", pattern=r"^  trigger-CHANNEL:$", add="the service trigger-CHANNEL"),
)
KUBERNETES = (
    copied("infra/kubernetes/base/CHANNEL.yaml", r"name: CHANNEL$"),
    listed("infra/kubernetes/base/kustomization.yaml", r"^  - CHANNEL\.yaml$", "CHANNEL.yaml to resources"),
    listed("infra/kubernetes/base/network.yaml", r"name.*\bCHANNEL\b", "what CHANNEL may call"),
    listed("infra/kubernetes/components/metrics/network.yaml"),
    listed(
        "infra/kubernetes/components/authority/kustomization.yaml", r"name: \S*\bCHANNEL\b", "CHANNEL to its target"
    ),
    listed("infra/kubernetes/overlays/example/kustomization.yaml", r"name: tidings-CHANNEL\b", "its image"),
    listed("infra/kubernetes/overlays/example/kustomization.yaml", r"secrets/CHANNEL\.env", "its secret"),
    copied("infra/kubernetes/overlays/example/secrets/CHANNEL.env", r"^TIDINGS_"),
    listed("infra/observability/prometheus.yaml", r'"CHANNEL:8080"', '"CHANNEL:8080" to the targets'),
)
CLOUD_RUN = (copied("infra/cloudrun/CHANNEL.yaml", r"tidings\.runtime\.trigger, \"CHANNEL="),)
AWS = (
    Line(file="infra/aws/template.yaml", pattern=r"functions/CHANNEL/main\.handler", add="the function CHANNEL"),
    Line(file="infra/aws/template.yaml", pattern=r"/aws/lambda/\$\{Name\}-CHANNEL\"", add="the log group of CHANNEL"),
    listed("infra/aws/aliases.yaml"),
    Line(file="infra/aws/aliases.yaml", pattern=r"\$\{Name\}-CHANNEL\"", add="the aliases of CHANNEL's shards"),
    listed("infra/aws/mappings.yaml"),
    Line(file="infra/aws/mappings.yaml", pattern=r"Queues: \[tidings\.CHANNEL\]", add="the mapping of tidings.CHANNEL"),
    listed("infra/aws/watch.yaml"),
    Line(file="infra/aws/watch.yaml", pattern=r"^    CHANNEL: \{Name: ", add="CHANNEL's provider to Providers"),
)
LINES = (*CODE, *EMULATORS, *COMPOSE, *KUBERNETES, *CLOUD_RUN, *AWS)


@pytest.mark.parametrize("line", LINES, ids=str)
@every_channel
def test_each_file_that_names_the_channels_names_this_one(channel: str, line: Line) -> None:
    assert line.missing(channel) is None


@every_channel
def test_a_channel_has_a_provider(channel: str) -> None:
    known = PROVIDERS.get(channel, ())
    assert known, f"layers/common/python/tidings/providers/__init__.py: add {channel} to PROVIDERS"
    for vendor in known:
        found = importlib.util.find_spec(f"tidings.providers.{vendor}")
        assert found is not None, f"layers/common/python/tidings/providers: add {vendor}.py or the folder {vendor}"


@every_channel
def test_a_channel_has_a_label_and_an_example_that_it_accepts(channel: str) -> None:
    """The console's test form, `local/up` and the API's document are made of them."""
    content = CHANNELS[channel]
    assert content.label, f"{content.__module__}: add `label`"
    recipient = TypeAdapter(content.Recipient).validate_python(content.example["recipient"])
    assert content.shown(content.stored(recipient)) == content.example["recipient"]
    content.model_validate(content.example["content"])


@every_channel
def test_a_page_shows_how_to_send_on_this_channel(channel: str) -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    assert f"`{channel}`" in pages or f'"{channel}"' in pages, f"docs: show {channel} in one of the pages"


def test_a_missing_line_is_told_with_its_file_and_what_to_add() -> None:
    said = [line.missing("chat") for line in LINES]
    assert None not in said
    assert "local/compose.yaml: add the service trigger-chat" in said
    assert "infra/cloudrun/chat.yaml: add the file, like that of another channel" in said
