"""A category: what a notification is about, such as `newsletter`. A recipient may opt out of one of them."""

from typing import Annotated

from pydantic import Field, StringConstraints

MAX_CATEGORY = 32  # characters; the column `suppression_list.scope`

Category = Annotated[
    str,
    StringConstraints(pattern=rf"^[a-z0-9][a-z0-9._-]{{0,{MAX_CATEGORY - 1}}}$"),
    Field(examples=["newsletter"]),
]
"""In lower case only, so that `News` and `news` are not two categories."""
