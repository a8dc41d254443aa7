"""How a command ends, when it does not end well."""

REFUSED, USAGE, UNREACHABLE, UNDELIVERED, INTERRUPTED = 1, 2, 3, 4, 130

EXIT_CODES = {
    0: "done",
    REFUSED: "the server refused or failed; the doctor found something wrong",
    USAGE: "usage or settings",
    UNREACHABLE: "not reachable",
    UNDELIVERED: "what was followed ended otherwise than sent, or not in time",
    INTERRUPTED: "Ctrl-C",
}


class Failed(Exception):
    """It was not done. The text is one line that says what would help."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Usage(Exception):
    """The command cannot be run as it was given; the text is one line that says what to change."""
