"""What the tables of settings and of status words say is so. tests/test_docs.py has the rest."""

from pathlib import Path

from tidings.domain.notification import Status

ROOT = Path(__file__).parents[1]
CODE = (ROOT / "layers/common/python", ROOT)
"""Where modules are found: the layer's, and what is imported from the root."""


def _text(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def test_every_status_is_explained() -> None:
    explained = [line.split("`")[1] for line in _text("README.md").splitlines() if line.startswith("| `")]
    assert sorted(explained) == sorted(Status)
