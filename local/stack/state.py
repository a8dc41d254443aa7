"""The state folder, kept between starts: database, secrets, logs and inbox."""

import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from tidings.api.api_keys import ApiKey, Scope, new_key

TENANT = "local"


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """Created at the first start."""

    api_key: str  # with all scopes
    api_key_hash: str  # for the functions
    trigger_token: str


@dataclass(frozen=True)
class State:
    """The folder. Git ignores it; delete it to start fresh."""

    folder: Path

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def providers(self) -> Path:
        return self.folder / "providers"

    @property
    def sqlite_url(self) -> str:
        return f"sqlite:///{self.folder.resolve()}/tidings.db"

    @property
    def env_file(self) -> Path:
        """KEY=value lines for scripts; exists only while the stack is ready."""
        return self.folder / "env"

    @property
    def functions_file(self) -> Path:
        """The same with every setting of the functions, for commands such as `tidings doctor`."""
        return self.folder / "functions.env"

    def prepare(self) -> None:
        for folder in (self.folder, self.logs, self.providers):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def secrets(self) -> Secrets:
        file = self.folder / "secrets.json"
        if not file.exists():
            key, entry = new_key(TENANT, list(Scope))
            file.touch(mode=0o600)
            made = {"api_key": key, "api_key_hash": str(entry), "trigger_token": secrets.token_urlsafe(32)}
            file.write_text(json.dumps(made, indent=2))
        found = Secrets(**json.loads(file.read_text()))
        ApiKey.parse(found.api_key_hash)
        return found
