"""The addresses of one world. In the providers' call log only the address identifies the notification."""

from itertools import count

from local.emulators.records import Channel


class Addresses:
    """Unique addresses for all loads of the world. Random ones might collide."""

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
            case "webhook":
                return f"https://shop{number}.example.com/hooks"
