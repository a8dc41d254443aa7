"""Exit codes of the commands, and the exceptions that lead to them."""

REFUSED, USAGE, UNREACHABLE, UNDELIVERED, INTERRUPTED = 1, 2, 3, 4, 130

EXIT_CODES = {
    0: "done",
    REFUSED: "the server refused or failed; doctor, audit or reconcile found something wrong",
    USAGE: "wrong usage or settings",
    UNREACHABLE: "server not reachable",
    UNDELIVERED: "a followed notification was not sent, or not in time",
    INTERRUPTED: "Ctrl-C",
}


class CommandFailed(Exception):
    """The command failed. The text is one line that names a remedy."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class UsageError(Exception):
    """The command was given wrongly. The text is one line that says what to change."""
