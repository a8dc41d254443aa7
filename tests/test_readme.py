"""The README's table of statuses. tests/test_docs.py has the rest."""

from pathlib import Path

from tidings.domain.notification import Status

ROOT = Path(__file__).parents[1]
CODE = (ROOT / "layers/common/python", ROOT)
"""Import paths: the layer, and the root."""


def _text(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def test_every_status_is_explained() -> None:
    explained = [line.split("`")[1] for line in _text("README.md").splitlines() if line.startswith("| `")]
    assert sorted(explained) == sorted(Status)
