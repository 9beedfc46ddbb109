"""Errors a user can act on: what is wrong, the value seen, the next step.

::

    JuratError                 exit 1
    ├── DataError              the data are not what they claim to be
    ├── SpecError              a bar, metric, source or other file cannot be followed
    │   └── UnknownName        a name that does not exist; near ones are suggested
    ├── UsageError             the call itself is wrong                 exit 2
    ├── EngineError            a query engine refused or disagreed
    ├── IntegrityError         a signature, hash or recomputation does not hold
    ├── MissingExtra           an optional package is needed
    └── NotEnoughEvidence      the question cannot be answered yet      exit 4

Each carries ``what``, ``seen`` and ``next_step``; the message is made of the three.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any

__all__ = [
    "DataError",
    "EngineError",
    "IntegrityError",
    "JuratError",
    "MissingExtra",
    "NotEnoughEvidence",
    "SpecError",
    "UnknownName",
    "UsageError",
]


class JuratError(Exception):
    """A known failure, told in three parts.

    Parameters
    ----------
    what
        What is wrong, as a sentence without its full stop.
    seen
        The value that was met, with its place (file and line, column, key).
    next_step
        What the reader can do about it.
    """

    exit_code = 1

    def __init__(self, what: str, *, seen: str | None = None, next_step: str | None = None) -> None:
        self.what = what
        self.seen = seen
        self.next_step = next_step
        super().__init__(str(self))

    def __reduce__(self) -> tuple[Callable[..., JuratError], tuple[Any, ...]]:
        # Errors of worker processes come back pickled, and subclasses have other arguments than the three parts.
        return _restored, (type(self), self.what, self.seen, self.next_step, self.__dict__)

    def __str__(self) -> str:
        parts = [self.what]
        if self.seen:
            parts.append(f"seen: {self.seen}")
        if self.next_step:
            parts.append(f"next: {self.next_step}")
        return "\n  ".join(parts)


def _restored(
    kind: type[JuratError], what: str, seen: str | None, next_step: str | None, state: dict[str, Any]
) -> JuratError:
    error = kind.__new__(kind)
    JuratError.__init__(error, what, seen=seen, next_step=next_step)
    error.__dict__.update(state)
    return error


class DataError(JuratError):
    """The data are not what they claim to be."""


class SpecError(JuratError):
    """A file that steers the work (bar, metric, source) cannot be followed."""


class UnknownName(SpecError):
    """A name that does not exist where it was looked for.

    Parameters
    ----------
    kind
        What sort of name it is, for example ``"metric"``.
    name
        The name that was asked for.
    known
        The names that exist; near ones are suggested, and all are listed when they are few.
    place
        Where it was asked for: a file, a file and a key.

    Examples
    --------
    >>> print(UnknownName("metric", "refusal_rat", ["refusal_rate", "error_rate"]))
    unknown metric
      seen: 'refusal_rat'
      next: did you mean 'refusal_rate'? (known: error_rate, refusal_rate)
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], *, place: str = "") -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1)
        shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "") if names else "none"
        advice = f"did you mean {near[0]!r}? (known: {shown})" if near else f"known: {shown}"
        super().__init__(f"{place}: unknown {kind}" if place else f"unknown {kind}", seen=repr(name), next_step=advice)
        self.name = name
        self.known = names


class UsageError(JuratError):
    """The call itself is wrong."""

    exit_code = 2


class EngineError(JuratError):
    """A query engine refused a query, or two engines disagreed."""


class IntegrityError(JuratError):
    """A signature, a hash or a recomputation does not hold."""


class MissingExtra(JuratError):
    """An optional package is needed for what was asked.

    Examples
    --------
    >>> print(MissingExtra("chdb", "clickhouse"))
    the package 'chdb' is not installed
      next: pip install 'jurat[clickhouse]'
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"the package {package!r} is not installed", next_step=f"pip install 'jurat[{extra}]'")


class NotEnoughEvidence(JuratError):
    """The question cannot be answered from what there is."""

    exit_code = 4
