"""API keys: how they are written in the settings, and how they are found."""

import hashlib

import pytest
from tidings.api.api_keys import ApiKey, ApiKeys, KeySettings, Scope, digest_of, new_key
from tidings.config.settings import load
from tidings.domain.errors import ConfigurationError
from tidings.runtime.container import build_container

HEX = "ab" * 32


def test_a_new_key_is_random_and_only_its_hash_is_kept() -> None:
    key, kept = new_key("acme", [Scope.SEND])
    another, _ = new_key("acme", [Scope.SEND])
    assert key != another
    assert len(key) >= 43
    assert kept.digest == hashlib.sha256(key.encode()).digest()
    assert key not in str(kept)
    assert key not in repr(kept)


@pytest.mark.parametrize("scopes", [[Scope.SEND], [Scope.OPERATE], [Scope.OPERATE, Scope.SEND]])
def test_what_is_kept_can_be_written_and_read(scopes: list[Scope]) -> None:
    _, kept = new_key("acme-2", scopes)
    assert ApiKey.parse(str(kept)) == kept


@pytest.mark.parametrize(
    "text",
    [
        "",
        "acme",
        f"acme:{HEX}",
        f"acme:send:{HEX}:x",
        f"Acme:send:{HEX}",
        f"-acme:send:{HEX}",
        f"{'a' * 65}:send:{HEX}",
        f":send:{HEX}",
        f"acme::{HEX}",
        f"acme:send+:{HEX}",
        f"acme:SEND:{HEX}",
        f"acme:send,operate:{HEX}",
        f"acme:send:{HEX[:-2]}",
        f"acme:send:{HEX}00",
        f"acme:send:{'x' * 64}",
        "acme:send:tdg_the-key-itself-in-place-of-its-hash",
    ],
)
def test_what_is_no_key_stops_the_start_without_being_shown(text: str) -> None:
    with pytest.raises(ValueError, match=r"^each key is tenant:scope\+scope:sha256-hex") as raised:
        ApiKey.parse(text)
    if text:
        with pytest.raises(ConfigurationError) as stopped:
            load(KeySettings, {"TIDINGS_API_KEYS": text})
        assert str(stopped.value).startswith("TIDINGS_API_KEYS: each key is tenant:scope+scope:sha256-hex")
        assert HEX[:20] not in f"{raised.value} {stopped.value}"
        assert "tdg_" not in f"{raised.value} {stopped.value}"


def test_a_scope_of_a_later_release_stops_no_start_grants_nothing_and_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    entries = [f"acme:audit+send:{HEX}", f"bank:audit:{HEX[::-1]}", f"shop:send:{'cd' * 32}"]
    monkeypatch.setenv("TIDINGS_API_KEYS", " ".join(entries))
    api_keys = build_container().api_keys()
    acme, bank, _ = api_keys.keys
    assert [[scope for scope in Scope if scope in key.scopes] for key in (acme, bank)] == [[Scope.SEND], []]
    assert [str(key) for key in api_keys.keys] == entries, "rotating another key would take it away"
    told = [(record.msg, record.__dict__["tenant"], record.__dict__["scopes"]) for record in caplog.records]
    assert told == [("unknown_scope", "acme", ["audit"]), ("unknown_scope", "bank", ["audit"])]


@pytest.mark.parametrize("text", [" ", "\n"])
def test_no_key_at_all_stops_the_start(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^TIDINGS_API_KEYS: "):
        load(KeySettings, {"TIDINGS_API_KEYS": text})


def test_several_keys_are_separated_by_any_space() -> None:
    made = [new_key(f"tenant{n}", [Scope.SEND]) for n in range(3)]
    api_keys = ApiKeys(keys=load(KeySettings, {"TIDINGS_API_KEYS": "\n ".join(str(kept) for _, kept in made)}).api_keys)
    for key, kept in made:
        assert api_keys.find(key) == kept
    assert api_keys.find(made[0][0][:-1]) is None
    assert api_keys.find("") is None
    assert api_keys.find(made[0][1].digest.hex()) is None


def test_every_key_is_compared_whichever_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer's time tells nothing of the others."""
    made = [new_key("acme", [Scope.SEND]) for _ in range(5)]
    compared: list[bytes] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return one == other

    monkeypatch.setattr("tidings.api.api_keys.hmac.compare_digest", compare)
    assert ApiKeys(keys=tuple(kept for _, kept in made)).find(made[0][0]) is not None
    assert compared == [kept.digest for _, kept in made]


def test_a_key_beyond_ascii_is_only_a_wrong_key() -> None:
    assert ApiKeys(keys=(new_key("acme", [Scope.SEND])[1],)).find("ключ-é") is None
    assert len(digest_of("ключ")) == 32
