"""The faults: `python -m tests.faults [--only NAME] [--seed N] [--worlds N]
[--soak S | --receipts | --webhooks] [--write FILE]`.
"""

import argparse
import secrets
import sys
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from local.services import packages
from tests.faults import receipts as reporting
from tests.faults import sections, webhooks
from tests.faults import soak as soaking
from tests.faults.fault import Fault
from tests.faults.faults import FAULTS
from tests.faults.matrix import Result, bounded, header, line, log, page, run, settled
from tests.faults.world import Usage, World, world

ORDER = {fault.name: place for place, fault in enumerate(FAULTS)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", default="", metavar="NAME", help="faults whose name holds this")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="of the load")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the table there")
    parser.add_argument("--worlds", type=int, default=1, metavar="N", help="work on so many at once")
    parser.add_argument("--soak", type=float, metavar="SECONDS", help="faults without a pause, for so long")
    parser.add_argument("--receipts", action="store_true", help="only what providers report later")
    parser.add_argument("--webhooks", action="store_true", help="only endpoints of webhooks")
    options = parser.parse_args()
    packages.install(packages.missing())
    if options.soak is not None:
        return soak(options.soak, seed=options.seed, write=options.write)
    if options.receipts:
        return with_receipts(options.only, seed=options.seed, write=options.write)
    if options.webhooks:
        return with_webhooks(options.only, seed=options.seed, write=options.write)
    chosen = [fault for fault in FAULTS if options.only in fault.name]
    if not chosen:
        parser.error(f"no fault is named so; there are: {', '.join(fault.name for fault in FAULTS)}")
    log(f"seed {options.seed}\n{header()}")
    # Faults with their own world first, so that the page shows the resources of the usual one; then the longest
    # first, so that no world waits at the end.
    chosen.sort(key=lambda fault: (fault.make_world is world, -fault.within))
    done = Done(seed=options.seed, waiting=deque(chosen), write=options.write)
    with ThreadPoolExecutor(options.worlds) as threads:
        for ran in [threads.submit(done.work) for _ in range(min(options.worlds, len(chosen)))]:
            ran.result()
    return 1 if done.broken or any(result.problems for result in done.results) else 0


def soak(seconds: float, *, seed: int, write: Path | None) -> int:
    log(f"seed {seed}")
    soaked = soaking.soak(seconds, seed)
    log(f"{header()}\n{line(soaked.result)}")
    log("\n".join(f"    {problem[:300]}" for problem in soaked.result.problems))
    if write is not None:
        sections.write(write, soaking.HEADING, soaking.section(soaked))
    return 1 if soaked.result.problems else 0


def with_receipts(only: str, *, seed: int, write: Path | None) -> int:
    log(f"seed {seed}\n{header()}")
    results: list[Result] = []
    with reporting.WORLD() as hurt:
        for fault in reporting.FAULTS:
            if only in fault.name:
                results.append(result := run(hurt, fault, seed))
                log("\n".join([line(result), *(f"    {said[:300]}" for said in (*result.notes, *result.problems[:8]))]))
                if write is not None:
                    sections.write(write, reporting.HEADING, reporting.section(results, hurt, seed))
    return 1 if any(result.problems for result in results) else 0


def with_webhooks(only: str, *, seed: int, write: Path | None) -> int:
    log(f"seed {seed}\n{webhooks.header()}")
    done: list[webhooks.Ran] = []
    with webhooks.WORLD() as hurt:
        for row in webhooks.ROWS:
            if only in row.name:
                done.append(ran := webhooks.run(hurt, row, seed))
                said = (*ran.result.notes, *ran.result.problems[:8])
                log("\n".join([webhooks.line(ran), *(f"    {one[:300]}" for one in said)]))
                if write is not None:
                    sections.write(write, webhooks.HEADING, webhooks.section(done, hurt, seed))
    return 1 if any(ran.result.problems for ran in done) else 0


@dataclass(kw_only=True)
class Done:
    """The queue of faults for several worlds, each with its own servers and processes."""

    seed: int
    waiting: deque[Fault]
    write: Path | None
    results: list[Result] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def work(self) -> None:
        while (fault := self._next()) is not None:
            first = fault
            with first.make_world() as hurt:
                run(hurt, FAULTS[0], -1 - self.seed)  # threads and connections are made
                before = settled(hurt)
                while fault is not None:
                    self._note(hurt, run(hurt, fault, self.seed), before)
                    fault = self._next(beside=first)
                broken = bounded(before, settled(hurt))
            with self._lock:
                self.broken += broken
                log("\n".join(broken))

    def _next(self, *, beside: Fault | None = None) -> Fault | None:
        """The next fault; with `beside`, the next one for the same kind of world."""
        with self._lock:
            for fault in self.waiting:
                if beside is None or fault.make_world == beside.make_world:
                    self.waiting.remove(fault)
                    return fault
            return None

    def _note(self, hurt: World, result: Result, before: dict[str, Usage]) -> None:
        with self._lock:
            self.results.append(result)
            self.results.sort(key=lambda one: ORDER[one.fault])
            log("\n".join([line(result), *(f"    {said[:300]}" for said in (*result.notes, *result.problems[:8]))]))
            if self.write is not None:
                text = page(hurt, self.results, seed=self.seed, before=before)
                text += sections.kept(self.write, reporting.HEADING, webhooks.HEADING, soaking.HEADING)
                self.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
