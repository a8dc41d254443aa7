"""The commands `tidings keys …`. API keys are entries of the setting TIDINGS_API_KEYS, which holds their hashes. A
command prints the new value of the setting and stores nothing; the operator sets it."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tidings.api.api_keys import FINGERPRINT, ApiKey, KeySettings, Scope, new_key
from tidings.cli.exit_codes import UsageError
from tidings.cli.options import Commands, Parents
from tidings.cli.output import note, show, table
from tidings.config.settings import load

VARIABLE = "TIDINGS_API_KEYS"


def create(options: argparse.Namespace) -> None:
    key, entry = new_key(options.tenant, [Scope(scope) for scope in options.scopes])
    try:
        ApiKey.parse(str(entry))
    except ValueError:
        raise UsageError(
            "TENANT must be up to 64 characters of a-z, 0-9, _ and -, starting with a letter or digit"
        ) from None
    text = f"The API key, shown only once:\n  {key}\nAppend to {VARIABLE}, separated by a space:\n  {entry}"
    show(options, {"key": key, "api_keys": str(entry)}, text)


def listed(options: argparse.Namespace) -> None:
    entries = _entries(options)
    rows = [["FINGERPRINT", "TENANT", "SCOPES"]]
    rows += [[entry.fingerprint, entry.tenant, " ".join(sorted(entry.scopes))] for entry in entries]
    document = [
        {"fingerprint": entry.fingerprint, "tenant": entry.tenant, "scopes": sorted(entry.scopes)} for entry in entries
    ]
    show(options, {"keys": document}, table(rows))


def rotate(options: argparse.Namespace) -> None:
    """The old key stays valid beside the new one until it is revoked, so no caller is locked out."""
    entries = _entries(options)
    old = _chosen(entries, options.which)
    key, new = new_key(old.tenant, sorted(old.scopes))
    after = [*entries, new]
    text = f"""The new API key, shown only once:
  {key}
New value of {VARIABLE}, with both keys:
  {_setting(after)}"""
    show(options, {"key": key, "api_keys": _setting(after), "replaces": old.fingerprint}, text)
    note(f"""Next:
  1. Set it where intake and replay run, and restart them.
  2. Give the callers of {old.tenant} the new key.
  3. Then: tidings keys revoke {old.fingerprint}""")


def revoke(options: argparse.Namespace) -> None:
    entries = _entries(options)
    gone = _chosen(entries, options.which)
    after = [entry for entry in entries if entry is not gone]
    if not after:
        raise UsageError("it is the last key, and the functions do not start without one: create another first")
    left = [entry for entry in after if entry.tenant == gone.tenant]
    if not left and not options.yes:
        raise UsageError(f"it is the last key of {gone.tenant}, which would be locked out: --yes revokes it anyway")
    text = f"New value of {VARIABLE}:\n  {_setting(after)}"
    show(options, {"api_keys": _setting(after), "revoked": gone.fingerprint}, text)
    note("Next: set it where intake and replay run, and restart them. Until then the key stays valid.")


def _entries(options: argparse.Namespace) -> Sequence[ApiKey]:
    """The current setting. Raise UsageError or ConfigurationError."""
    if options.file is None:
        text = os.environ.get(VARIABLE, "")
        if not text:
            raise UsageError(f"{VARIABLE} is not set here: set it to the current value, or give --file FILE (-: stdin)")
    else:
        try:
            text = sys.stdin.read() if options.file == "-" else Path(options.file).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise UsageError(f"{options.file} cannot be read: {error}") from None
        text = text.strip().removeprefix(f"{VARIABLE}=").strip("\"'")
    return load(KeySettings, {VARIABLE: text}).api_keys


def _chosen(entries: Sequence[ApiKey], which: str) -> ApiKey:
    found = [entry for entry in entries if entry.tenant == which]
    if not found and len(which) >= FINGERPRINT:
        found = [entry for entry in entries if entry.digest.hex().startswith(which.lower())]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(f"no key matches {which}: `tidings keys list` shows them")
    raise UsageError(f"{which} has {len(found)} keys: name one of {', '.join(one.fingerprint for one in found)}")


def _setting(entries: Sequence[ApiKey]) -> str:
    return " ".join(map(str, entries))


def add(commands: Commands, parents: Parents) -> None:
    group = commands.add_parser("keys", help="API keys: create, list, rotate, revoke")
    keys = group.add_subparsers(required=True, metavar="COMMAND")
    made = keys.add_parser("create", parents=[parents.output], help="create a key; it is stored nowhere")
    made.add_argument("tenant", metavar="TENANT", help="the tenant of the key")
    made.add_argument("scopes", metavar="SCOPE", nargs="+", choices=[*map(str, Scope)], help=", ".join(Scope))
    made.set_defaults(run=create)
    current = argparse.ArgumentParser(add_help=False)
    current.add_argument(
        "--file", metavar="FILE", help=f"file with the current setting, instead of {VARIABLE}; -: stdin"
    )
    which = argparse.ArgumentParser(add_help=False)
    which.add_argument("which", metavar="WHICH", help="a tenant with one key, or a fingerprint from `keys list`")
    keys.add_parser("list", parents=[current, parents.output], help="list the keys").set_defaults(run=listed)
    rotated = keys.add_parser(
        "rotate", parents=[which, current, parents.output], help="create a new key beside an old one"
    )
    rotated.set_defaults(run=rotate)
    revoked = keys.add_parser(
        "revoke", parents=[which, current, parents.output], help="print the setting without a key"
    )
    revoked.add_argument("--yes", action="store_true", help="also revoke the last key of a tenant")
    revoked.set_defaults(run=revoke)
