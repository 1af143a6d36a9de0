"""Forms of a value: numbers that are no switches, and fields that may be written in several ways.

pydantic tries every way in turn and reports a fault of each. Here the form of what is written says which one is meant,
so that a mistake is one fault.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Discriminator, Tag, ValidationError, WrapValidator

VALUE, LIST, MAPPING = Tag("<value>"), Tag("<list>"), Tag("<mapping>")
TAGS = tuple(tag.tag for tag in (VALUE, LIST, MAPPING))  # pydantic puts them into the place of a fault


def by_form(expected: str) -> Discriminator:
    """The choice among the forms of a union whose members have these tags. expected: completes "expected ..." """
    return Discriminator(_form, custom_error_type="form", custom_error_message=f"expected {expected}")


def told(expected: str) -> WrapValidator:
    """One fault in these words for whatever is wrong with a value. expected: completes "expected ..." """

    def validated(value: Any, inner: Callable[[Any], Any]) -> Any:
        try:
            return inner(value)
        except ValidationError:
            raise ValueError(f"expected {expected}") from None

    return WrapValidator(validated)


def _form(value: Any) -> str:
    if isinstance(value, Mapping | BaseModel):
        return MAPPING.tag
    return LIST.tag if isinstance(value, list) else VALUE.tag


def _no_switch(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("expected a number; true and false are none")
    return value


Int = Annotated[int, BeforeValidator(_no_switch)]
Float = Annotated[float, BeforeValidator(_no_switch)]
