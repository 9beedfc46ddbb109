"""Names that strangers chose, written so that an address or a form can hold them, and read back unchanged."""

from __future__ import annotations

import base64
import binascii
import re

from jurat.errors import UnknownName
from jurat.web.visible import visible

__all__ = ["from_address", "to_address", "to_value"]

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,199}")
_PRINTED = re.compile(r"[!-}][ -}]{0,499}")


def to_address(name: str) -> str:
    """Write a name as one part of a path.

    Examples
    --------
    >>> to_address("c-17"), to_address("../x"), to_address("")
    ('c-17', '~Li4veA', '~')
    """
    return name if _PLAIN.fullmatch(name) else _encoded(name)


def to_value(name: str) -> str:
    """Write a name as a form's value: what can be printed stays as it is.

    Examples
    --------
    >>> to_value("openai/gpt 5"), to_value("a\\x1b[31m")
    ('openai/gpt 5', '~YRtbMzFt')
    """
    return name if not name or _PRINTED.fullmatch(name) else _encoded(name)


def _encoded(name: str) -> str:
    return "~" + base64.urlsafe_b64encode(name.encode("utf-8", "surrogatepass")).decode().rstrip("=")


def from_address(written: str, kind: str) -> str:
    """Read a name back.

    Parameters
    ----------
    written
        What `to_address` or `to_value` wrote, or anything else somebody typed.
    kind
        What it is a name of, for the message.

    Raises
    ------
    UnknownName
        Where nothing is written so.

    Examples
    --------
    >>> from_address("~Li4veA", "conversation"), from_address("c-17", "conversation")
    ('../x', 'c-17')
    """
    if not written.startswith("~"):
        return written
    try:
        return base64.urlsafe_b64decode(written[1:] + "=" * (-(len(written) - 1) % 4)).decode("utf-8", "surrogatepass")
    except (binascii.Error, ValueError) as error:
        raise UnknownName(kind, visible(written)[:60], ()) from error
