"""`local/test --quick` starts no process and no server."""

import subprocess
import sys
from pathlib import Path

from tests.installed import ROOT

TESTS = """
import subprocess
from pathlib import Path
import pytest

@pytest.fixture
def rabbitmq():
    Path("started").touch()

def test_it_needs_a_server(rabbitmq):
    pass

def test_it_computes():
    assert 1 + 1 == 2

def test_it_starts_a_process():
    subprocess.run(["touch", "started"], check=True)
"""


def test_a_test_that_starts_a_process_or_needs_a_server_is_skipped_before_it_does(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "tests.quick", "-p", "no:cacheprovider", "test_some.py"]
    environment = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "1 passed, 2 skipped" in done.stdout
    assert not (tmp_path / "started").exists()
