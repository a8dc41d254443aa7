"""A proof: exported by the operator API, and verified by the command without a server."""

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tidings.api.app import App
from tidings.api.http import Request
from tidings.cli import main
from tidings.domain.errors import ConfigurationError
from tidings.domain.notification import Notification, Status
from tidings.pipeline.proof import InvalidProof, Signer, verify
from tidings.ports import Settlement
from tidings.runtime.container import Container

from tests import make
from tests.functions.conftest import Imported
from tests.functions.served import Caller, Keys, replay_of
from tests.functions.test_receipts import BASE, PATH, SECRET, form, signed

SEED = bytes(range(32))


@pytest.fixture
def operator(container: Container, keys: Keys, operator_declared: Any, monkeypatch: pytest.MonkeyPatch) -> Caller:
    monkeypatch.setenv("TIDINGS_PROOF_KEY", base64.b64encode(SEED).decode())
    return replay_of(container, keys, operator_declared)


@pytest.fixture
def sent(container: Container) -> Notification:
    row = make.notification(datetime.now(UTC), channel="sms", recipient="+15005550010")
    container.store.insert([row])
    claims = container.store.claim([make.message(row)], timedelta(seconds=60))
    accepted: dict[str, Any] = {"status": Status.SENT, "provider": "twilio", "provider_message_id": "SM1"}
    container.store.settle([Settlement(claims=claims, notification=claims.acquired[0], **accepted)])
    return row


@pytest.fixture
def proof(operator: Caller, sent: Notification) -> dict[str, str]:
    found: dict[str, str] = operator("GET", f"/v1/notifications/{sent.id}/proof").body
    return found


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_a_proof_is_a_jws_of_the_notification_with_the_hash_of_each_report(
    operator: Caller,
    sent: Notification,
    imported: Imported,
    settings: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever has the report, as the provider or a log of the proxy, can compare the hash."""
    monkeypatch.setenv("TIDINGS_RECEIPTS_URL", BASE)
    monkeypatch.setenv("TIDINGS_RECEIPTS_SECRET", SECRET)
    receipts: App = imported("receipts").function.app
    body = urlencode(form()).encode()
    report = Request(method="POST", path=PATH, query={}, headers={"x-twilio-signature": signed(form())}, body=body)
    assert asyncio.run(receipts.answer(report)).status == 204
    told = operator("GET", f"/v1/notifications/{sent.id}/proof").body
    own = Ed25519PrivateKey.from_private_bytes(SEED).public_key()
    own.verify(decoded(told["signature"]), f"{told['protected']}.{told['payload']}".encode())
    statement = json.loads(decoded(told["payload"]))
    assert (statement["tenant"], statement["notification"]["id"]) == ("acme", sent.id)
    assert statement["notification"]["status"] == "delivered"
    hashes = [entry["raw_sha256"] for entry in statement["notification"]["events"] if "raw_sha256" in entry]
    assert hashes == [hashlib.sha256(body).hexdigest()]
    assert verify(told).statement == statement


def _changed(part: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, str]], Any]:
    def spoil(proof: dict[str, str]) -> Any:
        content = json.loads(decoded(proof[part]))
        change(content)
        return {**proof, part: base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")}

    return spoil


def _resigned(proof: dict[str, str]) -> Any:
    """By another algorithm, with the public key as the secret: an old trick against verifiers of JWS."""
    return _changed("protected", lambda header: header.update(alg="HS256"))(proof)


SPOILED: list[Callable[[dict[str, str]], Any]] = [
    _changed("payload", lambda said: said["notification"].update(status="delivered")),
    _changed("protected", lambda header: header.update(alg="none")),
    _changed("protected", lambda header: header["jwk"].update(x="AA")),
    _changed("protected", lambda header: header.update(jwk=[])),
    _resigned,
    lambda proof: {**proof, "signature": ""},
    lambda proof: {**proof, "signature": proof["signature"][:-4] + "é==="},
    lambda proof: {**proof, "protected": "%%%"},
    lambda proof: {**proof, "payload": 7},
    lambda proof: [proof],
    lambda _proof: None,
]


@pytest.mark.parametrize("spoil", SPOILED)
def test_a_changed_proof_is_refused(proof: dict[str, str], spoil: Callable[[dict[str, str]], Any]) -> None:
    verify(proof)
    with pytest.raises(InvalidProof):
        verify(spoil(proof))


def test_the_command_verifies_a_file_and_says_whose_key_signed_it(
    proof: dict[str, str], sent: Notification, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "proof.json"
    file.write_text(json.dumps(proof))
    own = base64.urlsafe_b64encode(Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw())
    key = own.decode().rstrip("=")
    assert main(["proof", "--verify", str(file)]) == 0
    shown = capsys.readouterr()
    assert sent.id in shown.out
    assert key in shown.err
    assert main(["proof", "--verify", str(file), "--public-key", key]) == 0
    assert main(["proof", "--verify", str(file), "--public-key", "another"]) == 1
    assert "another key signed it" in capsys.readouterr().err
    file.write_text(json.dumps({**proof, "signature": "AAAA"}))
    assert main(["proof", "--verify", str(file)]) == 1
    assert "its signature is wrong" in capsys.readouterr().err
    file.write_bytes(b"\xff" * 9)
    assert main(["proof", "--verify", str(file)]) == 1
    assert main(["proof", "--verify", str(tmp_path / "none")]) == 2
    assert main(["proof"]) == 2


@pytest.mark.parametrize(
    "header", [{"typ": "JWT"}, {"alg": "none"}, {"jwk": {"kty": "EC", "crv": "P-256", "x": "AA"}}, {"jwk": None}]
)
def test_a_jws_for_another_purpose_is_no_proof_even_if_its_signature_is_right(header: dict[str, Any]) -> None:
    """The key may have signed other things."""
    key = Ed25519PrivateKey.from_private_bytes(SEED)
    public = base64.urlsafe_b64encode(key.public_key().public_bytes_raw()).decode().rstrip("=")
    usual = {"alg": "EdDSA", "typ": "tidings-proof+json", "jwk": {"kty": "OKP", "crv": "Ed25519", "x": public}}

    def signed_with(header: dict[str, Any]) -> dict[str, str]:
        parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, {})]
        signature = base64.urlsafe_b64encode(key.sign(".".join(parts).encode())).decode().rstrip("=")
        return {"protected": parts[0], "payload": parts[1], "signature": signature}

    assert verify(signed_with(usual)).public_key == public
    with pytest.raises(InvalidProof):
        verify(signed_with({**usual, **header}))


@pytest.mark.parametrize(
    "statement", [{}, {"notification": []}, {"notification": {"events": [7]}, "tenant": "x\x1b[2J"}]
)
def test_a_signed_statement_about_something_else_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], statement: dict[str, Any]
) -> None:
    """By a stranger, with a key of his own."""
    file = tmp_path / "proof.json"
    file.write_text(json.dumps(Signer(seed=bytes(32)).sign(statement)))
    assert main(["proof", "--verify", str(file)]) == 1
    assert "says nothing about a notification" in capsys.readouterr().err


def test_without_a_key_there_is_no_proof_and_another_tenant_gets_none(
    container: Container, keys: Keys, operator: Caller, sent: Notification, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/v1/notifications/{sent.id}/proof"
    assert operator("GET", path, key=keys.other).status == 404
    assert operator("GET", path, key=keys.send).status == 403
    monkeypatch.delenv("TIDINGS_PROOF_KEY")
    answer = replay_of(container, keys)("GET", path)
    assert (answer.status, answer.body["code"]) == (409, "no_proof_key")


@pytest.mark.parametrize("wrong", ["AAAA", "not base64", base64.b64encode(bytes(33)).decode()])
def test_a_wrong_key_stops_the_start(container: Container, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("TIDINGS_PROOF_KEY", wrong)
    with pytest.raises(ConfigurationError, match="TIDINGS_PROOF_KEY"):
        container.signer()
