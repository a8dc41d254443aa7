"""Returned mails that no one here wrote: what is read in each, and how often that is what its source says.

tests/functions/mails/README.md names the sources and their licenses.
"""

import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tidings.domain.receipt import ReceiptKind
from tidings.providers.smtp.reports import Returned, Sort, read

from tests.installed import ROOT

FOLDER = Path(__file__).parent / "mails" / "public"
TUNED = {"sisimai"}
"""The words that the parser knows were chosen with these samples."""

LIBRARYS = {"flufl"}
"""flufl.bounce, which we use, was written with these."""

AGREES = {
    "hard": {"hard"},
    "soft": {"soft", "passed"},  # a delay may be told as a failure for now
    "failed": {"hard", "soft"},  # its source does not say for how long
    "delayed": {"soft", "passed"},
    "passed": {"passed"},
    "complaint": {"complaint", "nothing"},  # nothing: a report of DMARC, or a complaint taken back
    "none": {"none", "passed"},  # no bounce; a delay is none either
}
"""For each word of a source, the readings that mean the same."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    name: str
    said: str  # by its source; "-": not clearly
    said_of: frozenset[str]  # the recipients, by its source; empty: it does not say
    read: tuple[str, ...]  # what `reading` must return

    @classmethod
    def of(cls, line: str) -> Self:
        name, said, said_of, *read = line.split("\t")
        return cls(name=name, said=said, said_of=frozenset(said_of.split()) - {"-"}, read=tuple(read))

    @property
    def source(self) -> str:
        return self.name.partition("/")[0]


def reading(raw: bytes) -> tuple[str, str, str]:
    """Kind, codes and recipients. Of several reports: the worst kind."""
    returned = read(raw)
    codes = {report.code for report in returned.reports if report.code is not None}
    named = {address.lower() for report in returned.reports for address in report.addresses}
    return _kind(returned), _joined(codes), _joined(re.sub(r"\s", "_", address) for address in named)


def _kind(returned: Returned) -> str:
    if returned.sort in (Sort.UNKNOWN, Sort.AUTO_REPLY):
        return "none"
    kinds = {report.kind for report in returned.reports}
    for kind, name in (
        (ReceiptKind.FAILED_HARD, "hard"),
        (ReceiptKind.FAILED_SOFT, "soft"),
        (ReceiptKind.COMPLAINED, "complaint"),
        (ReceiptKind.OPTED_OUT, "complaint"),
    ):
        if kind in kinds:
            return name
    return "passed" if kinds else "nothing"


def _joined(texts: Iterator[str] | set[str]) -> str:
    return " ".join(sorted(texts)) or "-"


def samples() -> Sequence[Sample]:
    return [Sample.of(line) for line in (FOLDER / "samples.tsv").read_text(encoding="utf-8").splitlines()[1:]]


def mails() -> dict[str, bytes]:
    with tarfile.open(FOLDER / "samples.tar.xz") as archive:
        found = {member.name: archive.extractfile(member) for member in archive}
        return {name: file.read() for name, file in found.items() if file is not None}


def test_each_public_sample_is_read_as_the_table_says() -> None:
    contents = mails()
    assert {sample.name: reading(contents[sample.name]) for sample in samples()} == {
        sample.name: sample.read for sample in samples()
    }
    licenses = {f"{sample.source}/LICENSE" for sample in samples()}
    assert {*contents} == {sample.name for sample in samples()} | licenses


def share(chosen: Sequence[Sample]) -> str:
    """How many are read as their source says."""
    agrees = Counter(sample.read[0] in AGREES[sample.said] for sample in chosen if sample.said != "-")
    return f"{agrees[True]} of {agrees.total()}"


def test_the_documentation_has_the_shares() -> None:
    page = (ROOT / "docs" / "receipts.md").read_text(encoding="utf-8")
    tuned = [sample for sample in samples() if sample.source in TUNED]
    librarys = [sample for sample in samples() if sample.source in LIBRARYS]
    others = [sample for sample in samples() if sample.source not in TUNED | LIBRARYS]
    bounces = [sample for sample in others if sample.said != "none"]
    strangers = [sample for sample in others if sample.said == "none"]
    for chosen in (tuned, librarys, bounces, strangers):
        assert share(chosen) in page


def test_a_failed_recipient_is_named_as_its_source_says() -> None:
    """Where a mail had several recipients, only a report that names the own one counts."""
    known = [sample for sample in samples() if sample.said_of and sample.read[0] != "none"]
    missing = [one.name for one in known if not {said.lower() for said in one.said_of} <= {*one.read[2].split()}]
    assert missing == []
    assert len(known) > 100
