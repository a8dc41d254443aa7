"""Hostile or careless callers of a real function process do not affect other callers.

docs/security.md has the limits. Each is tried on a process as it runs in a container.
"""

import gzip
import json
import re
import socket
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tidings.runtime import worker

from tests.functions.served import Answer, Keys, Process, mail, process, sms
from tests.functions.test_security import MIB, SEND, resident
from tests.migrated import migrated

BIG = 16 * MIB


@pytest.fixture
def bearer(keys: Keys) -> dict[str, str]:
    return {"authorization": f"Bearer {keys.send}", "content-type": "application/json"}


@pytest.fixture
def ask(settings: dict[str, str], tmp_path: Path) -> Iterator[Process]:
    with process("intake", settings, tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> Iterator[Process]:
    """For what leaves no trace in a process: nothing of it is held."""
    folder = tmp_path_factory.mktemp("odd")
    database = migrated(f"sqlite:///{folder}/tidings.db")
    given = {"TIDINGS_DATABASE_URL": database.database_url, "TIDINGS_API_KEYS": keys.setting}
    with process("intake", given, folder) as running:
        yield running


def opened(ask: Process) -> socket.socket:
    address = urlsplit(ask.url)
    return socket.create_connection((address.hostname or "", address.port or 0), timeout=30)


def told(ask: Process, *sent: bytes) -> bytes:
    """All that is answered to these bytes until the connection ends, or nothing more comes."""
    with opened(ask) as one, closing(one.makefile("rb")) as answer:
        try:
            for part in sent:
                one.sendall(part)
        except ConnectionError:
            pass
        one.settimeout(5)
        found = b""
        try:
            while part := answer.read1(65536):
                found += part
                if found.endswith(b"}"):
                    break
        except (ConnectionError, TimeoutError):
            pass
        return found


def status(answer: bytes) -> int:
    return int(answer.split(None, 2)[1]) if answer else 0


# --- without a key nothing is read ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json", "/docs", "/nowhere", SEND])
def test_a_body_without_a_key_takes_no_room_from_anybody(
    one_process: Process, bearer: dict[str, str], path: str
) -> None:
    """Nine bodies of 16 MB would be more than all the room that there is; each hangs before its last byte."""
    with ExitStack() as stack, ThreadPoolExecutor(9) as threads:

        def send(_: int) -> int:
            one = stack.enter_context(opened(one_process))
            method = b"POST" if path == SEND else b"GET"
            one.sendall(b"%s %s HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (method, path.encode(), BIG))
            try:
                for _part in range(64):
                    one.sendall(bytes(BIG // 64 - 1))
            except ConnectionError:
                pass  # it is closed to whoever goes on after his answer
            return status(one.recv(65536))

        before = resident(one_process.worker)
        statuses = set(threads.map(send, range(9)))
        assert statuses <= {200, 401, 404}, statuses
        for _ in range(3):
            assert one_process("POST", SEND, json.dumps(mail()).encode(), bearer).status == 202
        assert resident(one_process.worker) - before < 16 * MIB


def test_whoever_is_answered_and_goes_on_sending_is_cut_off(one_process: Process) -> None:
    with opened(one_process) as one:
        one.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (400 * MIB))
        part = bytes(400 * MIB)
        with pytest.raises(ConnectionError):
            one.sendall(part)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-large: " + b"x" * (8 * MIB),
        b"GET /healthz HTTP/1.1\r\nhost: x\r\n" + b"x-many: y\r\n" * 800_000,
        b"GET /" + b"x" * (8 * MIB),
        b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-just-over: " + b"x" * worker.MAX_HEAD + b"\r\n\r\n",
        b"\r\n" * (4 * MIB),
        b"POST /v1/notifications HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n"
        + b"x-trailer: y\r\n" * 600_000,
    ],
    ids=["one header", "many headers", "a path", "just over", "empty lines", "trailers"],
)
def test_headers_without_end_are_not_held(one_process: Process, head: bytes) -> None:
    one_process("GET", "/healthz")
    before = resident(one_process.worker)
    assert status(told(one_process, head)) in (431, 401, 0)  # 0: it was closed while it was sending
    assert resident(one_process.worker) - before < 4 * MIB
    assert one_process("GET", "/healthz").status == 200


def test_requests_that_come_all_at_once_are_not_all_begun(one_process: Process) -> None:
    answer = told(one_process, b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n" * 5000)
    assert answer.count(b"HTTP/1.1 200") <= 5000
    assert b"too_many_pipelined" in answer or answer.count(b"HTTP/1.1") < 100


HALF = {
    "nothing": b"",
    "an empty line": b"\r\n",
    "half a head": b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-slow: ",
    "half a body": b"POST /v1/notifications HTTP/1.1\r\nauthorization: Bearer %s\r\ncontent-length: 9\r\n\r\n{",
    "half a second request": b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET /he",
    "a body after its answer": b"GET /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{",
}


def test_what_is_only_half_sent_is_closed(settings: dict[str, str], bearer: dict[str, str], tmp_path: Path) -> None:
    quick = (
        "import tidings.runtime.worker as w; w.HEAD_WITHIN = w.BODY_WITHIN = 2.0; "
        "import tidings.runtime.server as f; f.main()"
    )
    launcher = tmp_path / "quick.py"
    launcher.write_text(f"import sys; sys.path.insert(0, '.'); sys.argv[0] = 'tidings.runtime.server'; {quick}\n")
    key = bearer["authorization"].removeprefix("Bearer ").encode()
    with process("intake", settings, tmp_path, script=launcher) as ask, ExitStack() as stack:
        waiting = []
        for name, sent in HALF.items():
            one = stack.enter_context(opened(ask))
            one.sendall(sent % key if b"%s" in sent else sent)
            waiting.append((name, one))
        deadline = time.monotonic() + 20
        for name, one in waiting:
            one.settimeout(max(deadline - time.monotonic(), 0.1))
            answer = b""
            while part := one.recv(65536):
                answer += part
            assert name in ("nothing", "an empty line", "a body after its answer") or b"408" in answer, (name, answer)
        assert ask("GET", "/healthz").status == 200


def test_half_sent_requests_leave_a_queue_function_its_threads(settings: dict[str, str], tmp_path: Path) -> None:
    """gunicorn gives each a thread, of which there are few."""
    launcher = tmp_path / "quick.py"
    launcher.write_text(
        "import sys; sys.path.insert(0, '.'); sys.argv[0] = 'tidings.runtime.server'\n"
        "import tidings.runtime.server as f; f.SILENT = 2; f.main()\n"
    )
    with process("email", settings, tmp_path, script=launcher) as ask, ExitStack() as stack:
        for _ in range(50):
            one = stack.enter_context(opened(ask))
            one.sendall(b"POST / HTTP/1.1\r\nhost: x\r\nx-slow: ")
        assert ask("GET", "/healthz").status == 200


# --- no 5xx without a key ---------------------------------------------------------------------------------------------

ODD = {
    "a length of zeros": b"GET /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: " + b"0" * 5000 + b"\r\n\r\n",
    "a length of nines": b"GET /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: " + b"9" * 5000 + b"\r\n\r\n",
    "a negative length": b"GET /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
    "two lengths": b"GET /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    "a WebSocket": b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    "HTTP/2 by upgrade": b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\n"
    b"http2-settings: AAMAAABkAAQAAP__\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100,
    "CONNECT": b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n",
    "OPTIONS *": b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n",
    "TRACE": b"TRACE /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
    "a method of our own": b"NOTIFY /v1/notifications HTTP/1.1\r\nhost: x\r\n\r\n",
    "no method": b"/healthz HTTP/1.1\r\nhost: x\r\n\r\n",
    "an absolute path": b"GET http://example.com/healthz HTTP/1.1\r\nhost: x\r\n\r\n",
    "two slashes": b"GET //healthz HTTP/1.1\r\nhost: x\r\n\r\n",
    "dots": b"GET /docs/../../etc/passwd HTTP/1.1\r\nhost: x\r\n\r\n",
    "a bad escape": b"GET /v1/%zz%f%00%ff%c3%28?a=%zz&%ff=%00 HTTP/1.1\r\nhost: x\r\n\r\n",
    "a path beyond ASCII": b"GET /caf\xc3\xa9 HTTP/1.1\r\nhost: x\r\n\r\n",
    "a header beyond latin-1": b"GET /v1/notifications HTTP/1.1\r\nauthorization: Bearer \xff\xfe\x80\r\n\r\n",
    "a header with NUL": b"GET /healthz HTTP/1.1\r\nhost: x\r\nx: a\0b\r\n\r\n",
    "a folded header": b"GET /healthz HTTP/1.1\r\nhost: x\r\nx: a\r\n b\r\n\r\n",
    "a bad chunk": b"POST /v1/notifications HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    "another encoding": b"POST /v1/notifications HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.0": b"GET /healthz HTTP/1.0\r\n\r\n",
    "HTTP/0.9": b"GET /healthz\r\n\r\n",
    "a request's id": b"GET /healthz HTTP/1.1\r\nhost: x\r\nrequest-id: \xff\x01\r\n\r\n",
    "to be continued": b"POST /v1/notifications HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n",
}


@pytest.mark.parametrize("name", ODD)
def test_a_request_without_a_key_never_gets_a_server_error(one_process: Process, name: str) -> None:
    before = len(one_process.log.read_text())
    answer = told(one_process, ODD[name])
    assert status(answer) < 500, answer
    assert answer, "no answer"
    assert one_process("GET", "/healthz").status == 200
    log = one_process.log.read_text()[before:]
    assert "Traceback" not in log
    assert '"unexpected_error"' not in log


def test_what_is_no_http_is_told_so_as_a_problem(one_process: Process) -> None:
    head, _, body = told(one_process, ODD["no method"]).partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    assert (json.loads(body)["status"], json.loads(body)["code"]) == (400, "invalid_http")


def test_a_connection_goes_on_after_an_upgrade_that_is_not_taken(one_process: Process) -> None:
    answer = told(one_process, ODD["a WebSocket"][:-2] + b"\r\n", b"")
    assert status(answer) == 200
    with opened(one_process) as one:
        for _ in range(2):
            one.sendall(ODD["HTTP/2 by upgrade"])
            assert status(one.recv(65536)) == 200


def test_a_stranger_who_is_refused_fills_no_log(one_process: Process) -> None:
    for _ in range(100):
        assert one_process("GET", SEND).status == 401
    lines = re.findall(r'.*"request_refused".*', one_process.log.read_text())
    assert 1 <= len(lines) <= 60, "ten a second"


# --- with a key -------------------------------------------------------------------------------------------------------


def test_a_compressed_body_is_taken_and_a_bomb_is_not(ask: Process, bearer: dict[str, str]) -> None:
    packed = {**bearer, "content-encoding": "gzip"}
    assert ask("POST", SEND, gzip.compress(json.dumps(sms()).encode()), packed).status == 202
    before = resident(ask.worker)
    packer, blanks = zlib.compressobj(wbits=31), bytes(16 * MIB)
    # After a full flush, what follows refers to nothing before it: the second piece can be repeated as it is.
    first, again = (packer.compress(blanks) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    bomb = first + 63 * again
    assert len(bomb) < 2 * MIB
    answer = ask("POST", SEND, bomb, packed)
    assert (answer.status, answer.body["code"]) == (413, "body_too_large")
    assert resident(ask.worker) - before < 3 * BIG
    for body in (b"", b"{}", gzip.compress(b"{}")[:-4], gzip.compress(b"{}") + b"x"):
        answer = ask("POST", SEND, body, packed)
        assert (answer.status, answer.body["code"]) == (400, "invalid_encoding")
    answer = ask("POST", SEND, b"{}", {**bearer, "content-encoding": "br"})
    assert (answer.status, answer.headers["accept-encoding"]) == (415, "gzip")


def posted(ask: Process, bearer: dict[str, str], body: bytes) -> Answer:
    return ask("POST", SEND, body, bearer)


SMS = b'{"channel":"sms","recipient":"+15005550010","content":{"text":"%s"}%s}'
NO_JSON = {
    "nothing": (b"", "it ends too soon"),
    "half": (SMS[:40], "it ends too soon"),
    "a byte order mark": (b"\xef\xbb\xbf" + SMS % (b"a", b""), "UTF-8 without a byte order mark"),
    "UTF-16": ((SMS % (b"a", b"")).decode().encode("utf-16"), "UTF-8 without a byte order mark"),
    "NUL": (b"\0", "UTF-8 without a byte order mark"),
    "a form": (b"channel=sms", "it begins with no value"),
    "invalid UTF-8": (SMS % (b"\xff", b""), "it is not UTF-8"),
    "an overlong form": (SMS % (b"\xc0\xaf", b""), "it is not UTF-8"),
    "a surrogate in UTF-8": (SMS % (b"\xed\xa0\x80", b""), "it is not UTF-8"),
    "half a pair": (SMS % (rb"\ud83d", b""), "half of a surrogate pair"),
    "the other half": (SMS % (rb"\ude00", b""), "half of a surrogate pair"),
    "half a pair in a name": (SMS % (b"a", rb',"\ud83d":1'), "half of a surrogate pair"),
    "an unknown escape": (SMS % (rb"\x41", b""), "a backslash begins no escape"),
    "a line break in a string": (SMS % (b"a\nb", b""), "control character"),
    "two objects": (SMS % (b"a", b"") * 2, "there is more after its end"),
    "a comma at the end": (SMS % (b"a", b","), "no comma may stand before a closing bracket"),
    "no comma": (SMS % (b"a", b' "priority":"high"'), "a comma or a closing bracket is missing"),
    "no colon": (b'{"channel" "sms"}', "a colon is missing"),
    "single quotes": (b"{'channel':'sms'}", "a name must be in double quotes"),
    "a zero in front": (SMS % (b"a", b',"max_attempts":05'), "a number is not written"),
    "Python's None": (SMS % (b"a", b',"max_attempts":None'), "a word is not true, false or null"),
    "no value": (SMS % (b"a", b',"max_attempts":'), "there is no value"),
    "a word": (SMS % (b"a", b',"max_attempts":nil'), "a word is not true, false or null"),
    "an item that is none": (b"[" + SMS % (b"a", b"") + b",]", "of item 1"),
}


@pytest.mark.parametrize("name", NO_JSON)
def test_what_is_no_json_is_told_so_in_words_of_ours(one_process: Process, bearer: dict[str, str], name: str) -> None:
    body, words = NO_JSON[name]
    answer = posted(one_process, bearer, body)
    assert (answer.status, answer.body["code"]) == (400, "invalid_json")
    assert words in answer.body["detail"]
    assert not re.search("EOF|expected|ident|code point|hex", answer.body["detail"])


ODD_VALUES = {
    "NaN": (b',"max_attempts":NaN', "#/max_attempts", "must be a whole number"),
    "minus infinity": (b',"max_attempts":-Infinity', "#/max_attempts", "must be a whole number"),
    "1e999": (b',"max_attempts":1e999', "#/max_attempts", "must be a whole number"),
    "a fraction of none": (b',"max_attempts":5.0', "#/max_attempts", "must be a whole number"),
    "900 digits": (b',"max_attempts":' + b"9" * 900, "#/max_attempts", "must be at most 20"),
    "before the first year": (b',"send_at":"0001-01-01T00:00:00+23:59"', "#/send_at", "out of range"),
    "after the last": (b',"expires_at":"9999-12-31T23:59:59-23:59"', "#/expires_at", "out of range"),
    "__proto__": (b',"__proto__":{"a":1}', "#/__proto__", "unknown field"),
}


@pytest.mark.parametrize("name", ODD_VALUES)
def test_an_odd_value_is_reported_for_its_field(one_process: Process, bearer: dict[str, str], name: str) -> None:
    more, pointer, words = ODD_VALUES[name]
    answer = posted(one_process, bearer, SMS % (b"a", more))
    assert (answer.status, answer.errors) == (422, {pointer: words})


def test_of_a_name_that_is_given_twice_the_last_counts(one_process: Process, bearer: dict[str, str]) -> None:
    """As most parsers of JSON do, so that whoever looks at it before us sees the same."""
    more = b',"recipient":"0800"'
    assert posted(one_process, bearer, SMS % (b"a", more)).errors.keys() == {"#/recipient"}
    assert posted(one_process, bearer, (b'{"recipient":"0800",' + SMS[1:]) % (b"a", b"")).status == 202


@pytest.mark.parametrize(
    ("twice", "expected"),
    [
        (b"authorization: Bearer %(key)s\r\nauthorization: Bearer tdg_x\r\n", 401),
        (b"authorization: Bearer tdg_x\r\nauthorization: Bearer %(key)s\r\n", 401),
        (b"authorization: Bearer %(key)s\r\ncontent-encoding: gzip\r\ncontent-encoding: gzip\r\n", 415),
        (b"authorization: Bearer %(key)s\r\ntransfer-encoding: chunked\r\n", 400),
        (b"authorization: Bearer %(key)s\r\ntransfer-encoding : chunked\r\n", 400),
    ],
    ids=["two keys", "the right one last", "two encodings", "a length and chunks", "a blank before the colon"],
)
def test_contradicting_headers_are_refused(one_process: Process, keys: Keys, twice: bytes, expected: int) -> None:
    head = b"POST /v1/notifications HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n" + twice % {b"key": keys.send.encode()}
    assert status(told(one_process, head + b"\r\n{}")) == expected


def test_two_idempotency_keys_are_read_as_one_joined_key(one_process: Process, bearer: dict[str, str]) -> None:
    def sent(*values: str) -> bytes:
        lines = "".join(f"idempotency-key: {value}\r\n" for value in values)
        body = SMS % (b"a", b"")
        head = f"POST {SEND} HTTP/1.1\r\nauthorization: {bearer['authorization']}\r\ncontent-length: {len(body)}\r\n"
        answer = told(one_process, f"{head}{lines}\r\n".encode() + body)
        assert status(answer) == 202
        return answer.partition(b'"id":')[2][:38]

    assert sent("one", "two") == sent("one, two")
    assert len({sent("one", "two"), sent("one"), sent("two")}) == 3


def test_chunks_without_end_are_cut_off(ask: Process, bearer: dict[str, str]) -> None:
    head = b"POST /v1/notifications HTTP/1.1\r\ntransfer-encoding: chunked\r\nauthorization: %s\r\n\r\n"
    before = resident(ask.worker)
    chunk = b"10000;an=extension\r\n" + b" " * 65536 + b"\r\n"
    answer = told(ask, head % bearer["authorization"].encode(), *[chunk] * 400)
    assert status(answer) in (413, 0)  # 0: it was closed while it was sending
    assert resident(ask.worker) - before < 2 * BIG


def test_a_body_is_asked_for_only_where_it_is_read(one_process: Process, keys: Keys) -> None:
    """`Expect: 100-continue`: who is refused sends it not at all."""
    head = b"POST /v1/notifications HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: %d\r\n%s\r\n"
    key = b"authorization: Bearer %s\r\n" % keys.send.encode()
    assert status(told(one_process, head % (2, b""))) == 401
    assert status(told(one_process, head % (99_999_999, key))) == 413
    answer = told(one_process, head % (2, key), b"{}")
    assert status(answer) == 100
    assert answer.count(b"HTTP/1.1 422") == 1
