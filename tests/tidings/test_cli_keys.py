"""Keys by the command line: entries of a setting, which is printed as it should be, and set by a person."""

from pathlib import Path

import pytest
from tidings.api.api_keys import ApiKey, ApiKeys, KeySettings, Scope, new_key
from tidings.config.settings import load

from tests.command import Ended, tidings


class Setting:
    """A present value of TIDINGS_API_KEYS, and the keys behind it."""

    def __init__(self, *tenants: str) -> None:
        made = [new_key(tenant, [Scope.SEND, Scope.OPERATE]) for tenant in tenants]
        self.keys = [key for key, _ in made]
        self.kept = [kept for _, kept in made]
        self.text = " ".join(map(str, self.kept))

    def fingerprint(self, place: int) -> str:
        return self.kept[place].digest.hex()[:8]


def ring(text: str) -> ApiKeys:
    return ApiKeys(keys=load(KeySettings, {"TIDINGS_API_KEYS": text}).api_keys)


def keys(folder: Path, setting: Setting, *arguments: str) -> Ended:
    return tidings("keys", *arguments, folder=folder, settings={"TIDINGS_API_KEYS": setting.text})


def refused(answer: Ended, *words: str) -> None:
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("tidings: ")
    for word in words:
        assert word in answer.err


def test_a_rotated_key_opens_beside_the_old_one_with_the_same_rights(tmp_path: Path) -> None:
    setting = Setting("shop", "bank")
    answer = keys(tmp_path, setting, "rotate", "shop", "--json")
    after = ring(answer.document["api_keys"])
    new, old = after.find(answer.document["key"]), after.find(setting.keys[0])
    assert new is not None
    assert old is not None
    assert (new.tenant, new.scopes) == (old.tenant, old.scopes)
    assert after.find(setting.keys[1]) is not None
    assert answer.document["replaces"] == setting.fingerprint(0)


def test_what_to_do_next_is_told_and_ends_with_the_revoke_that_works(tmp_path: Path) -> None:
    setting = Setting("shop")
    answer = keys(tmp_path, setting, "rotate", "shop")
    command = answer.err.strip().splitlines()[-1].partition("tidings keys ")[2].split()
    new_setting = answer.out.strip().splitlines()[-1].strip()
    revoked = tidings("keys", *command, "--json", folder=tmp_path, settings={"TIDINGS_API_KEYS": new_setting})
    after = ring(revoked.document["api_keys"])
    assert after.find(setting.keys[0]) is None
    assert after.find(answer.out.splitlines()[1].strip()) is not None


def test_a_tenant_with_two_keys_is_asked_which(tmp_path: Path) -> None:
    setting = Setting("shop", "shop")
    refused(keys(tmp_path, setting, "revoke", "shop"), setting.fingerprint(0), setting.fingerprint(1))
    answer = keys(tmp_path, setting, "revoke", setting.fingerprint(1).upper(), "--json")
    assert answer.document["api_keys"] == str(setting.kept[0])


def test_the_last_key_of_a_tenant_is_revoked_only_on_purpose(tmp_path: Path) -> None:
    setting = Setting("shop", "bank")
    refused(keys(tmp_path, setting, "revoke", "shop"), "--yes", "locked out")
    assert keys(tmp_path, setting, "revoke", "shop", "--yes", "--json").document["api_keys"] == str(setting.kept[1])


def test_the_last_key_of_all_is_not_revoked(tmp_path: Path) -> None:
    """Without one, no function starts."""
    refused(keys(tmp_path, Setting("shop"), "revoke", "shop", "--yes"), "create another first")


def test_the_list_tells_keys_apart_and_shows_none(tmp_path: Path) -> None:
    setting = Setting("shop", "bank")
    answer = keys(tmp_path, setting, "list")
    for place, tenant in enumerate(("shop", "bank")):
        assert f"{setting.fingerprint(place)}     {tenant}" in answer.out
    assert all(kept.digest.hex() not in answer.out for kept in setting.kept)


@pytest.mark.parametrize("form", ["{}", "TIDINGS_API_KEYS={}", 'TIDINGS_API_KEYS="{}"\n'])
def test_the_setting_is_read_from_a_file_or_standard_input_too(tmp_path: Path, form: str) -> None:
    setting = Setting("shop")
    text = form.format(setting.text)
    (tmp_path / "keys").write_text(text)
    for where, typed in (("keys", ""), ("-", text)):
        answer = tidings("keys", "list", "--file", where, "--json", folder=tmp_path, typed=typed)
        assert [key["tenant"] for key in answer.document["keys"]] == ["shop"]


def test_a_setting_that_is_missing_or_wrong_is_named(tmp_path: Path) -> None:
    refused(tidings("keys", "rotate", "shop", folder=tmp_path), "TIDINGS_API_KEYS", "--file")
    refused(tidings("keys", "list", "--file", "nowhere", folder=tmp_path), "nowhere")
    refused(tidings("keys", "list", "--file", "-", folder=tmp_path, typed="shop:send:abc"), "TIDINGS_API_KEYS")
    refused(keys(tmp_path, Setting("shop"), "rotate", "nobody"), "no key matches nobody")


def test_a_key_is_shown_once_and_not_in_the_setting(tmp_path: Path) -> None:
    answer = keys(tmp_path, Setting("shop"), "rotate", "shop")
    lines = [line.strip() for line in answer.out.splitlines() if line.startswith("  ")]
    assert answer.out.count(lines[0]) == 1
    assert lines[0] not in answer.err
    assert all(ApiKey.parse(entry) for entry in lines[1].split())
