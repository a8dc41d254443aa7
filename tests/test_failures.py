"""docs/failures.md is what the code does: every code that an attempt can end with has its row, in its class."""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tidings.domain import errors
from tidings.domain.errors import AccountError, DeliveryError, TransientError
from tidings.domain.receipt import ReceiptKind
from tidings.providers import PROVIDERS
from tidings.providers.fcm import errors as fcm_errors
from tidings.providers.smtp import reasons as smtp_reasons
from tidings.providers.smtp import replies as smtp_replies
from tidings.providers.smtp.replies import lost, refusal
from tidings.providers.smtp.stages import Parties, Reply, Stage
from tidings.providers.twilio import codes as twilio_codes
from tidings.providers.twilio.receipts import kind_of

ROOT = Path(__file__).parents[1]
KINDS = {cls.__name__: cls.kind for cls in (*DeliveryError.__subclasses__(), *AccountError.__subclasses__())}
EVERY_CHANNEL = "Every channel"
PACKAGE = ROOT / "layers/common/python/tidings"
TITLES = {"smtp": "Email", "twilio": "SMS", "fcm": "Push"}
VENDORS = {TITLES.get(name, name): name for names in PROVIDERS.values() for name in names}
"""By section: the name of a vendor in the registry. The section of a further vendor has that name as its title."""
TABULATED = {EVERY_CHANNEL, *TITLES.values()}
"""The sections whose computed codes have tests of their own below."""
COMPUTED = {
    ("smtp/replies.py", "refusal"),
    ("smtp/replies.py", "lost"),
    ("twilio/errors.py", "_judged"),
    ("fcm/errors.py", "_refusal"),
    ("fcm/errors.py", "unauthorized"),
}
"""Where a code is not written in place. Each has a test of its own below."""

Row = tuple[str, str]
"""A code and its class."""


def rows(section: str) -> list[list[str]]:
    """The cells of each row of the section's tables, without their heads."""
    text = (ROOT / "docs/failures.md").read_text(encoding="utf-8")
    body = re.split(r"^## ", text, flags=re.MULTILINE)
    chosen = next((part for part in body if part.startswith(f"{section}\n")), None)
    assert chosen is not None, f"docs/failures.md: add a section `## {section}`, with a row for each code"
    return [line.strip("| ").split(" | ") for line in chosen.splitlines() if line.startswith("| `")]


def documented(section: str) -> set[Row]:
    """Those of the tables with one code a row."""
    return {(cells[0].strip("`"), cells[1]) for cells in rows(section) if len(cells) == 4}


def files(section: str) -> list[Path]:
    if section != EVERY_CHANNEL:
        path = PACKAGE / "providers" / VENDORS[section]
        return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    of_vendors = {file for vendor in VENDORS for file in files(vendor)}
    return [file for file in sorted(PACKAGE.rglob("*.py")) if file not in of_vendors]


def raised(section: str) -> Iterator[tuple[str, str, ast.Call]]:
    """File, function and call: every place below the section's folder where a DeliveryError is made."""
    for file in files(section):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
            for call in [node for node in ast.walk(function) if isinstance(node, ast.Call)]:
                if isinstance(call.func, ast.Name) and call.func.id in {*KINDS, "kind"}:
                    yield f"{file.parent.name}/{file.name}", function.name, call


def code_of(call: ast.Call) -> str | None:
    """None: it is computed there."""
    if isinstance(call.func, ast.Name) and call.func.id == "kind":
        return None
    match call.args[0]:
        case ast.Constant(value=str() as code):
            return code
        case ast.Name(id=name) if hasattr(errors, name):
            return str(getattr(errors, name))
    return None


def written(section: str) -> set[Row]:
    """What the section's code raises with the code in place."""
    calls = [(call, code) for _, _, call in raised(section) if (code := code_of(call)) is not None]
    return {(code, KINDS[call.func.id]) for call, code in calls if isinstance(call.func, ast.Name)}


@pytest.mark.parametrize("section", [EVERY_CHANNEL, *VENDORS])
def test_every_code_that_is_written_in_the_code_has_its_row(section: str) -> None:
    made = written(section)
    assert made, "no place was found where a DeliveryError is made"
    assert not made - documented(section), f"docs/failures.md: add these rows to the section {section}"


def test_no_code_is_computed_where_no_test_looks() -> None:
    found = {(file, function) for name in TABULATED for file, function, call in raised(name) if code_of(call) is None}
    assert found == COMPUTED


def test_the_classes_are_those_of_the_code() -> None:
    assert {cells[0].strip("`") for cells in rows("The four classes")} == set(KINDS.values())


def vendor(kinds: dict[int, type[DeliveryError]] | dict[str, type[DeliveryError]]) -> set[Row]:
    return {(str(code), kind.kind) for code, kind in kinds.items()}


def statuses(kind_of: Callable[[int], type[DeliveryError]]) -> set[Row]:
    """HTTP's, where the vendor gave no code that is known."""
    return {(str(status), kind_of(status).kind) for status in (400, 401, 429, 500)}


def lost_and_garbled() -> list[DeliveryError]:
    broken = [lost(stage, error) for stage in Stage for error in (TimeoutError(), OSError())]
    return [*broken, *(refusal(stage, Reply(-1, b"")) for stage in Stage)]


def twilio() -> set[Row]:
    """The table, the families, and some of the codes that hold an HTTP status."""
    families = {(family, kind.kind) for family, kind in twilio_codes.FAMILIES.items()}
    holding = (20403, 20404, 20409, 20429, 20500, 20503, 20504)
    statuses_held = {(str(code), twilio_codes.kind_of_status(code - 20000).kind) for code in holding}
    by_status = statuses(twilio_codes.kind_of_status) | {("408", twilio_codes.kind_of_status(408).kind)}
    return vendor(twilio_codes.KINDS) | families | statuses_held | by_status | {("failed", "transient")}


COMPUTED_ROWS: dict[str, set[Row]] = {
    EVERY_CHANNEL: {("restored", "ambiguous")},
    "Email": {(error.code, error.kind) for error in lost_and_garbled()},
    "SMS": twilio(),
    "Push": {("invalid_grant", "account")},
}


@pytest.mark.parametrize("section", sorted(TABULATED))
def test_every_code_that_is_computed_has_its_row_and_no_other_has(section: str) -> None:
    assert documented(section) - written(section) == COMPUTED_ROWS[section]


def test_every_code_of_twilios_names_its_page() -> None:
    coded = [cells for cells in rows("SMS") if re.fullmatch(r"`\d{5,}`", cells[0])]
    assert len(coded) >= len(twilio_codes.KINDS)
    pages = [
        (cells[0].strip("`"), re.findall(r"https://www\.twilio\.com/docs/api/errors/(\d+)", cells[2]))
        for cells in coded
    ]
    assert not [code for code, linked in pages if linked != [code]]


def test_the_class_of_a_code_decides_if_a_receipt_is_hard_or_soft() -> None:
    """As the table under SMS says."""
    said = {code: kind for code, kind in documented("SMS") if re.fullmatch(r"[1-9]\d{4}", code)}
    assert {said[code] for code in ("30004", "30005", "30006", "30007")} == {"permanent"}
    for code, kind in said.items():
        expected = ReceiptKind.FAILED_HARD if kind == "permanent" else ReceiptKind.FAILED_SOFT
        assert kind_of("undelivered", code)[0] is expected, code
    for status, code in (("failed", ""), ("undelivered", "99999"), ("canceled", ""), ("failed", "no number")):
        assert kind_of(status, code)[0] is ReceiptKind.FAILED_SOFT, (status, code)


def test_the_refusals_that_may_mean_us_say_so() -> None:
    said = {cells[0].strip("`") for cells in rows("SMS") if "may be us: " in cells[2]}
    assert said == {str(code) for code in twilio_codes.MAY_BE_ACCOUNT}
    by_country = {cells[0].strip("`") for cells in rows("SMS") if "transient, may be us" in cells[2]}
    assert by_country == {str(code) for code in twilio_codes.BY_COUNTRY}


@dataclass(frozen=True, kw_only=True)
class Documented:
    """What the table says of a mail server's reply at a step."""

    stage: Stage
    reply: Reply
    kind: str
    may_be_account: bool
    own_sender: bool  # False: the content names its own `from`

    def __str__(self) -> str:
        return f"{self.stage} {self.reply.code} {self.reply.words[:40]}{'' if self.own_sender else ' with a from'}"

    def is_like(self, error: DeliveryError) -> bool:
        evidence = isinstance(error, TransientError) and error.may_be_account
        return (error.kind, evidence) == (self.kind, self.may_be_account)


def replies() -> Iterator[Documented]:
    for given, steps, *classes in [cells[:4] for cells in rows("Email") if len(cells) == 7]:
        for stage in Stage if steps == "any" else [Stage(step) for step in steps.split(", ")]:
            for number, words in re.findall(r"`(-?\d+)(?: ([^`]+))?`", given):
                reply = Reply(
                    int(number), (words if re.search("[a-z]", words) else f"{words} because".strip()).encode()
                )
                for own, shown in zip((True, False), classes, strict=True):
                    kind, _, evidence = (classes[0] if shown == "the same" else shown).partition(", ")
                    yield Documented(
                        stage=stage, reply=reply, kind=kind, may_be_account=evidence == "may be account", own_sender=own
                    )


def test_each_reply_of_a_mail_server_is_classified_as_the_table_says() -> None:
    table = list(replies())
    assert len(table) > 500
    wrong = [
        (str(row), error.kind)
        for row in table
        if not row.is_like(error := refusal(row.stage, row.reply, Parties(own_sender=row.own_sender)))
    ]
    assert not wrong


def test_every_reply_that_the_code_knows_by_number_is_in_the_table() -> None:
    shown = {word for row in replies() for word in (str(row.reply.code), row.reply.enhanced)}
    known = (
        smtp_replies.MAILBOX_UNKNOWN
        | smtp_replies.FULL
        | smtp_replies.TOO_LARGE
        | smtp_replies.CONTENT_POLICY
        | {str(code) for code in smtp_replies.AUTHENTICATION}
    )
    assert known <= shown


def answers_of_fcm() -> list[tuple[str, int, str]]:
    """Code, HTTP status and class: what the table says of each answer. tests/functions/test_fcm.py gives each."""
    table = [cells for cells in rows("Push") if len(cells) == 5]
    return [
        (code, int(cells[1] if cells[1].isdigit() else code), cells[2])
        for cells in table
        for code in re.findall(r"`(\w+)`", cells[0])
    ]


def test_every_answer_of_fcm_that_the_code_knows_is_in_the_table_in_its_class() -> None:
    table = {(code, kind) for code, _, kind in answers_of_fcm()}
    assert vendor(fcm_errors.KINDS) <= table
    assert statuses(fcm_errors.kind_of_status) <= table


def test_every_answer_of_fcm_has_the_page_that_says_it() -> None:
    assert not [cells for cells in rows("Push") if len(cells) == 5 and not re.search(r"\[(FCM|RPC|HTTP)\]", cells[3])]


def test_every_row_of_words_decides_for_a_reply_of_the_table() -> None:
    """A pattern that never decides, because an earlier one always matches, is useless."""
    said = [f"{row.reply.enhanced or row.reply.code} {row.reply.words.lower()}" for row in replies()]
    patterns = [pattern for _, pattern in smtp_reasons.TABLE]
    deciding = {next((pattern for pattern in patterns if pattern.search(words)), None) for words in said}
    assert [pattern.pattern for pattern in patterns if pattern not in deciding] == []


def test_every_reply_of_a_mail_server_names_a_page() -> None:
    pages = [cells[-1] for cells in rows("Email") if len(cells) == 7]
    assert pages
    assert all("](https://" in page for page in pages)


def test_a_restored_row_says_the_code_of_the_catalogue() -> None:
    assert "'ambiguous', 'restored'" in (ROOT / "infra/restored.sql").read_text(encoding="utf-8")
