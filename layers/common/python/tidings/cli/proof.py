"""The command `tidings proof`: export a signed timeline, or verify one."""

import argparse
import hmac
import json
from pathlib import Path
from typing import Any

from tidings.cli.api_client import operator
from tidings.cli.exit_codes import REFUSED, CommandFailed, UsageError
from tidings.cli.options import Commands, Parents
from tidings.cli.output import event, head, note, plain, show
from tidings.pipeline.proof import InvalidProof, Verified, verify


def proof(options: argparse.Namespace) -> None:
    if (options.id is None) == (options.verify is None):
        raise UsageError("give either an ID to export, or --verify FILE")
    if options.verify is not None:
        _verify(options)
        return
    with operator(options) as server:
        print(json.dumps(server.get(f"/v1/notifications/{options.id}/proof"), indent=2))


def _verify(options: argparse.Namespace) -> None:
    """Without a server: the file has all that it takes."""
    try:
        found = verify(_read(options.verify))
        text = _text(found)
    except InvalidProof as invalid:
        raise CommandFailed(REFUSED, f"{options.verify}: {invalid}.") from None
    except ImportError:
        raise CommandFailed(REFUSED, "The package cryptography is missing; install tidings[server].") from None
    known = options.public_key
    if known is not None and not hmac.compare_digest(known.rstrip("=").encode(), found.public_key.encode()):
        raise CommandFailed(REFUSED, f"{options.verify}: another key signed it: {found.public_key}")
    show(options, {"public_key": found.public_key, "statement": found.statement}, text)
    if known is None:
        note(f"The signature is right. Is this the key that you know? {found.public_key}")


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise InvalidProof("not JSON") from None


def _text(found: Verified) -> str:
    """Anybody can sign anything with a key of his own. Raise InvalidProof if it is no statement of ours."""
    said = found.statement
    try:
        item: dict[str, Any] = said["notification"]
        entries = item.get("events", [])
        hashes = [plain(f"receipt {entry['raw_sha256']}") for entry in entries if entry.get("raw_sha256")]
        title = plain(f"Signed for the tenant {said['tenant']} at {said['exported_at']}")
        return "\n".join([title, *head(item), *map(event, entries), *hashes])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InvalidProof("its signature is right, but it says nothing about a notification") from None


def add(commands: Commands, parents: Parents) -> None:
    made = commands.add_parser(
        "proof",
        parents=[parents.output, parents.operator],
        help="export a notification's signed timeline, or verify one",
    )
    made.add_argument("id", metavar="ID", nargs="?", help="export its timeline, signed, to standard output")
    made.add_argument("--verify", type=Path, metavar="FILE", help="verify this one, and show it; asks no server")
    made.add_argument("--public-key", metavar="KEY", help="with --verify: it must be signed with this key")
    made.set_defaults(run=proof)
