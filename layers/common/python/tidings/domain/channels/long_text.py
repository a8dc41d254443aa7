"""A text of many kilobytes, kept beside its content in pieces: one call for all of it would block the process."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pydantic import ValidationInfo
from pydantic_core import CoreSchema, PydanticKnownError, from_json
from pydantic_core.core_schema import str_schema, with_info_after_validator_function

_PIECE = 64 * 1024


class LongText(str):
    """Stands in a content's field for a long text. As a `str` it is only a name that occurs nowhere else."""

    length: int  # characters
    json: bytes  # without the quotes, as pydantic writes it
    ends: Sequence[int]  # where each piece of `json` ends; each has whole characters

    def __new__(cls, name: str, length: int, json: bytes, ends: Sequence[int]) -> "LongText":
        text = super().__new__(cls, name)
        text.length, text.json, text.ends = length, json, ends
        return text

    def pieces(self) -> Iterator[bytes]:
        return (self.json[start:end] for start, end in pairwise((0, *self.ends)))


@dataclass(frozen=True)
class MaxLength:
    """The limit of a field that may hold a LongText. They are given as the validation's context, each by the
    placeholder that stands for it in the JSON."""

    characters: int

    def __get_pydantic_core_schema__(self, _source: object, _handler: object) -> CoreSchema:
        return with_info_after_validator_function(self._resolved, str_schema(max_length=self.characters))

    def _resolved(self, value: str, info: ValidationInfo) -> str:
        long: LongText | None = info.context.get(value) if info.context else None
        if long is None:
            return value
        if long.length > self.characters:
            raise PydanticKnownError("string_too_long", {"max_length": self.characters})
        return long


def with_long_texts(value: Any, texts: Mapping[str, LongText], limit: int) -> Any:
    """Any JSON with the long strings whose placeholders stand in it, as keys or values. Raise ValueError if they have
    more than `limit` bytes together: each is read in one call."""
    if sum(len(text.json) for text in texts.values()) > limit:
        raise ValueError(f"is over {limit} bytes as JSON")

    def whole(part: Any) -> Any:
        match part:
            case str():
                return from_json(b'"' + texts[part].json + b'"') if part in texts else part
            case list():
                return [*map(whole, part)]
            case dict():
                return {whole(name): whole(of) for name, of in part.items()}
        return part

    return whole(value)


def length(text: str) -> int:
    return text.length if isinstance(text, LongText) else len(text)


def base64_pieces(text: str) -> Iterator[bytes]:
    """The text in pieces of whole groups of four; the last has what is left, and one group at least. Where the text is
    escaped in JSON, the pieces are too: none of what JSON escapes is base64."""
    left = b""
    for piece in text.pieces() if isinstance(text, LongText) else _encoded(text):
        left += piece
        end = max(len(left) // 4 - 1, 0) * 4
        yield left[:end]
        left = left[end:]
    yield left


def _encoded(text: str) -> Iterator[bytes]:
    return (text[start : start + _PIECE].encode() for start in range(0, len(text), _PIECE))
