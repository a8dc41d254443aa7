"""The documents are correct: links and pictures exist, and so does everything that they name."""

import ast
import contextlib
import importlib.util
import io
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tidings import cli
from tidings.domain.notification import Status
from tidings.messaging import topology

from tests.rooms import layers
from tests.settings_page import settings_classes

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "layers/common/python/tidings"
DOCUMENTS = sorted(
    str(path.relative_to(ROOT)) for folder in (".", "docs", "examples/shop") for path in (ROOT / folder).glob("*.md")
)
GUIDES = [name for name in DOCUMENTS if Path(name).name in ("applications.md", "operators.md", "runbooks.md")]
PICTURES = sorted((ROOT / "docs").glob("*.svg"))

MADE_BY_RUNNING = (".venv/bin/python", ".tidings/env", ".tidings/functions.env", ".tidings/shop.db")
NO_SETTINGS = {"TIDINGS_URL", "TIDINGS_INBOX_URL", "TIDINGS_CHAT_URL"}
"""Two of .tidings/env, and one of the example of a new provider."""
REMOVED = {"TIDINGS_TWILIO_STATUS_CALLBACK"}
"""Settings of the release before."""
NEW_FILES = {"ses.py", "chat.py"}
"""Those of the examples in docs/extending.md."""
SVG = "{http://www.w3.org/2000/svg}"


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def shell(document: str, mark: str = r"sh(?: tried)?") -> Iterator[str]:
    """The document's blocks for a shell."""
    for block in re.findall(rf"^ *```{mark}\n(.*?)^ *```", text_of(document), re.MULTILINE | re.DOTALL):
        yield block.replace("\\\n", " ")


# --- links and pictures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_relative_link_has_a_target(document: str) -> None:
    text = text_of(document)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    inside = [link for link in links if "://" not in link]
    assert not [link for link in inside if not _leads_somewhere(document, link)]


def _leads_somewhere(document: str, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (ROOT / document).parent / path if path else ROOT / document
    if not target.exists():
        return False
    if not anchor or target.suffix != ".md":
        return True
    headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
    return anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_every_picture_is_valid_has_a_description_and_is_used(picture: Path) -> None:
    root = ElementTree.fromstring(picture.read_text(encoding="utf-8"))
    assert root.tag == f"{SVG}svg"
    assert (root.findtext(f"{SVG}title") or "").strip()
    assert any(picture.name in text_of(document) for document in DOCUMENTS)


def words_in(picture: str) -> set[str]:
    """Its texts, without title and description."""
    return {text.text or "" for text in ElementTree.parse(ROOT / "docs" / picture).iter(f"{SVG}text")}


def test_the_pictures_of_the_architecture_name_existing_parts() -> None:
    assert not set(Status) - words_in("states.svg")
    queues = {queue.name.replace(".email", ".<channel>") for queue in topology.queues()}
    of_others = {name for name in queues if name.startswith(("tidings.sms", "tidings.push", "tidings.webhook"))}
    assert not queues - of_others - words_in("topology.svg")
    assert words_in("rooms.svg") >= {room for layer in layers() for room in layer}, "run `python -m tests.pages`"


# --- commands and names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_named_in_commands_exist(document: str) -> None:
    """In the blocks marked `sh tried`, each of which was run unchanged."""
    words = {word for block in shell(document, "sh tried") for word in re.split(r"[\s'\"]+", block)}
    paths = {word for word in words if re.fullmatch(r"\.?\w[\w.-]*(/[\w.-]+)+", word)}
    assert not {path for path in paths if not _is_there(path)}
    if document == "README.md":
        assert {"local/up", "local/test", ".tidings/env", ".venv/bin/tidings"} <= paths


def _is_there(path: str) -> bool:
    if path.startswith(".venv/bin/") and path not in MADE_BY_RUNNING:
        project = tomllib.loads(text_of("layers/common/pyproject.toml"))["project"]
        return path.removeprefix(".venv/bin/") in project["scripts"]
    return path in MADE_BY_RUNNING or (ROOT / path).exists()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_commands_and_their_options_are_those_of_tidings(document: str) -> None:
    for block in shell(document):
        for command in re.findall(r"\.venv/bin/tidings ([^|>)\n]+)", block):
            subcommands = re.match(r"[a-z-]+(?: [a-z]+)?(?= |$)", command)
            assert subcommands, command
            words = subcommands[0].split()
            known = _help(words if words[0] in ("dead", "keys") else words[:1])
            assert not [option for option in re.findall(r"--[a-z-]+", command) if option not in known], command


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if name not in ("CHANGELOG.md", "docs/upgrades.md")])
def test_the_modules_and_files_that_are_named_exist(document: str) -> None:
    """Modules to run, and files by their path from the project or from the package."""
    text = text_of(document)
    assert not [name for name in re.findall(r"python -m ([\w.]+)", text) if importlib.util.find_spec(name) is None]
    named = re.findall(r"`(?:python )?((?:[\w-]+/)+[\w-]+(?:\.\w+)?)(?=[`: ])", text)
    files = [name for name in named if Path(name).suffix in (".py", ".sql", ".yaml", ".toml", ".txt")]
    files = [name for name in files if document != "docs/extending.md" or Path(name).name not in NEW_FILES]
    assert not [name for name in files if not any((folder / name).exists() for folder in (ROOT, PACKAGE))]


def _help(words: list[str]) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.raises(SystemExit) as ended:
        cli.main([*words, "--help"])
    assert ended.value.code == 0, words
    return said.getvalue()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_named_setting_exists(document: str) -> None:
    settings = {cls.variable(name) for cls in settings_classes() for name in cls.model_fields}
    if document in ("CHANGELOG.md", "docs/upgrades.md"):
        settings |= {old for cls in settings_classes() for old in cls.formerly.values()} | REMOVED
    named = set(re.findall(r"TIDINGS_[A-Z_]*[A-Z]\b(?![_…])", text_of(document)))
    assert not {name for name in named - settings - NO_SETTINGS if not name.startswith("TIDINGS_TEST_")}


@pytest.mark.parametrize("document", GUIDES)
def test_every_identifier_in_code_font_exists_in_the_code(document: str) -> None:
    """Events, metrics, fields and codes, written like_this."""
    named = set(re.findall(r"`(?:\w+=)?([a-z]+(?:_[a-z]+)+)`", text_of(document)))
    assert named
    assert not {name for name in named if not re.search(rf"\b{name}\b", _code())}


def _code() -> str:
    folders = ("layers/common/python", "functions", "local", "infra")
    return "\n".join(file.read_text(encoding="utf-8") for name in folders for file in (ROOT / name).rglob("*.py"))


def test_every_status_that_the_api_answers_is_explained_to_those_who_call() -> None:
    explained = set(re.findall(r"^\| (\d{3}) \|", text_of("docs/applications.md"), re.MULTILINE))
    assert {str(status) for status in _answered()} | {"202"} == explained


def _answered() -> set[int]:
    """Every Problem's status, of the API's and not of the trigger's side."""
    found = set()
    for folder in ("layers/common/python/tidings", "functions/intake"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Problem":
                    match node.args:
                        case [ast.Constant(value=int(status)), *_]:
                            found.add(status)
    return found
