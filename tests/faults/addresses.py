"""The addresses of one world. The providers' call log knows whose a call was by its address alone."""

from itertools import count

from local.emulators.records import Channel


class Addresses:
    """Drawn by every load of the world, and none of them twice. A seed would not do: two draws may meet."""

    def __init__(self) -> None:
        self._numbers = count()  # its `next` is safe in threads

    def draw(self, channel: Channel) -> str:
        number = next(self._numbers)
        match channel:
            case "email":
                return f"n{number}@example.com"
            case "sms":
                return f"+1555{number:010}"
            case "push":
                return f"device-{number}"
