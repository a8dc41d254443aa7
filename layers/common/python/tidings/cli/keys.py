"""API keys. They are entries of the setting TIDINGS_API_KEYS, which holds hashes: nothing here knows a key but the one
that it makes, and nothing is stored. A command prints the setting as it should be; setting it is yours."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tidings.api.api_keys import ApiKey, KeySettings, Scope, new_key
from tidings.cli.exit_codes import Usage
from tidings.cli.options import Commands, Parents
from tidings.cli.output import note, show, table
from tidings.config.settings import load

VARIABLE = "TIDINGS_API_KEYS"
SHOWN = 8  # hex digits of a digest, by which an entry is told


def create(options: argparse.Namespace) -> None:
    key, kept = new_key(options.tenant, [Scope(scope) for scope in options.scopes])
    try:
        ApiKey.parse(str(kept))
    except ValueError:
        raise Usage("TENANT is up to 64 of a-z, 0-9, _ and -, beginning with a letter or digit") from None
    text = f"The key, shown this once:\n  {key}\nAdd to {VARIABLE}, after a space if there are others:\n  {kept}"
    show(options, {"key": key, "api_keys": str(kept)}, text)


def listed(options: argparse.Namespace) -> None:
    entries = _entries(options)
    rows = [["FINGERPRINT", "TENANT", "SCOPES"]]
    rows += [[_fingerprint(entry), entry.tenant, " ".join(sorted(entry.scopes))] for entry in entries]
    document = [
        {"fingerprint": _fingerprint(entry), "tenant": entry.tenant, "scopes": sorted(entry.scopes)}
        for entry in entries
    ]
    show(options, {"keys": document}, table(rows))


def rotate(options: argparse.Namespace) -> None:
    """The old one stays beside the new until it is revoked: nobody is locked out meanwhile."""
    entries = _entries(options)
    old = _chosen(entries, options.which)
    key, new = new_key(old.tenant, sorted(old.scopes))
    after = [*entries, new]
    text = f"""The new key, shown this once:
  {key}
{VARIABLE} from now on, with both:
  {_setting(after)}"""
    show(options, {"key": key, "api_keys": _setting(after), "replaces": _fingerprint(old)}, text)
    note(f"""Next:
  1. Set it where intake and replay run, and start them again.
  2. Give the callers of {old.tenant} the new key.
  3. Then: tidings keys revoke {_fingerprint(old)}""")


def revoke(options: argparse.Namespace) -> None:
    entries = _entries(options)
    gone = _chosen(entries, options.which)
    after = [entry for entry in entries if entry is not gone]
    if not after:
        raise Usage("it is the last key, and the functions do not start without one: create another first")
    left = [entry for entry in after if entry.tenant == gone.tenant]
    if not left and not options.yes:
        raise Usage(f"it is the last key of {gone.tenant}, which is then locked out: --yes revokes it all the same")
    text = f"{VARIABLE} from now on:\n  {_setting(after)}"
    show(options, {"api_keys": _setting(after), "revoked": _fingerprint(gone)}, text)
    note("Next: set it where intake and replay run, and start them again. Until then the key is valid.")


def _entries(options: argparse.Namespace) -> Sequence[ApiKey]:
    """The present setting. Raise Usage or ConfigurationError."""
    if options.file is None:
        text = os.environ.get(VARIABLE, "")
        if not text:
            raise Usage(f"{VARIABLE} is not set here: give the present setting by it, or with --file FILE (-: stdin)")
    else:
        try:
            text = sys.stdin.read() if options.file == "-" else Path(options.file).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise Usage(f"{options.file} cannot be read: {error}") from None
        text = text.strip().removeprefix(f"{VARIABLE}=").strip("\"'")
    return load(KeySettings, {VARIABLE: text}).api_keys


def _chosen(entries: Sequence[ApiKey], which: str) -> ApiKey:
    found = [entry for entry in entries if entry.tenant == which]
    if not found and len(which) >= SHOWN:
        found = [entry for entry in entries if entry.digest.hex().startswith(which.lower())]
    if len(found) == 1:
        return found[0]
    if not found:
        raise Usage(f"there is no key of {which}: `tidings keys list` shows them")
    raise Usage(f"{which} has {len(found)} keys: name one of {', '.join(map(_fingerprint, found))}")


def _fingerprint(entry: ApiKey) -> str:
    return entry.digest.hex()[:SHOWN]


def _setting(entries: Sequence[ApiKey]) -> str:
    return " ".join(map(str, entries))


def add(commands: Commands, parents: Parents) -> None:
    group = commands.add_parser("keys", help="API keys: create, list, rotate, revoke")
    keys = group.add_subparsers(required=True, metavar="COMMAND")
    made = keys.add_parser("create", parents=[parents.output], help="make a key; it is stored nowhere")
    made.add_argument("tenant", metavar="TENANT", help="whose notifications the key may see")
    made.add_argument("scopes", metavar="SCOPE", nargs="+", choices=[*map(str, Scope)], help=", ".join(Scope))
    made.set_defaults(run=create)
    present = argparse.ArgumentParser(add_help=False)
    present.add_argument("--file", metavar="FILE", help=f"with the present setting, in place of {VARIABLE}; -: stdin")
    which = argparse.ArgumentParser(add_help=False)
    which.add_argument("which", metavar="WHICH", help="a tenant with one key, or a fingerprint, as the list shows it")
    keys.add_parser("list", parents=[present, parents.output], help="whose keys there are").set_defaults(run=listed)
    rotated = keys.add_parser("rotate", parents=[which, present, parents.output], help="a new key beside an old one")
    rotated.set_defaults(run=rotate)
    revoked = keys.add_parser("revoke", parents=[which, present, parents.output], help="the setting without a key")
    revoked.add_argument("--yes", action="store_true", help="also the last of its tenant")
    revoked.set_defaults(run=revoke)
