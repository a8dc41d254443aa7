"""A setting that names a file of certificates."""

import ssl
from typing import Annotated

from pydantic import AfterValidator, Field


def _readable(path: str | None) -> str | None:
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:
        raise ValueError(f"not a readable PEM file of certificates: {error.strerror}") from None
    return path


CaFile = Annotated[
    str | None,
    AfterValidator(_readable),
    Field(description="PEM file of the authorities to trust; default: the system's"),
]
