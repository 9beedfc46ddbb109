"""Sessions: a user's turns, cut wherever more than half an hour passes between two of them."""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np
from numpy.typing import NDArray

__all__ = ["GAP_SECONDS", "Sessions", "sessionise"]

GAP_SECONDS = 1800
"""The usual gap: with half an hour between two turns, a new session begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions:
    """Where each turn stands.

    Attributes
    ----------
    session
        Number of the user's session, from 1, int32, in the order of the input.
    turn
        Number of the turn in that session, from 1, int32.
    n_sessions
        Sessions of all users.
    """

    session: NDArray[np.int32]
    turn: NDArray[np.int32]
    n_sessions: int


def sessionise(users: NDArray[np.int64], seconds: NDArray[np.int64], *, gap_seconds: int = GAP_SECONDS) -> Sessions:
    """Number the sessions of users.

    Parameters
    ----------
    users
        Code of each turn's user, int64, at least 0.
    seconds
        Time of each turn, int64, seconds since 1970.
    gap_seconds
        A longer pause begins a new session; one of exactly this length does not.

    Returns
    -------
    Sessions
        Turns of one user at one second keep the order of the input.

    Raises
    ------
    ValueError
        Where lengths differ, a code or a time is negative, or the gap is.

    Notes
    -----
    User and time are packed into one integer, sorted once, and read in one pass.

    Examples
    --------
    >>> found = sessionise(np.array([7, 8, 7, 7]), np.array([0, 5, 1800, 3601]))
    >>> found.session.tolist(), found.turn.tolist(), found.n_sessions
    ([1, 1, 1, 2], [1, 1, 2, 1], 3)
    """
    if len(users) != len(seconds):
        raise ValueError(f"users and times must be as many, not {len(users)} and {len(seconds)}")
    if len(users) == 0:
        return Sessions(session=np.empty(0, np.int32), turn=np.empty(0, np.int32), n_sessions=0)
    if int(users.min()) < 0 or int(seconds.min()) < 0 or gap_seconds < 0:
        raise ValueError("codes of users, times and the gap must not be negative")
    first = int(seconds.min())
    width = max(1, int(int(seconds.max()) - first).bit_length())
    if int(users.max()).bit_length() + width <= 63:
        packed = (users.astype(np.int64) << width) | (seconds - first)
        order = np.argsort(packed, kind="stable")
    else:
        order = np.lexsort((seconds, users))
    session, turn = np.empty(len(users), np.int32), np.empty(len(users), np.int32)
    count = _number(users, seconds, order, gap_seconds, session, turn)
    return Sessions(session=session, turn=turn, n_sessions=int(count))


@nb.njit(cache=True, nogil=True)
def _number(users, seconds, order, gap, session, turn):  # type: ignore[no-untyped-def]
    total, number, place = 0, 0, 0
    for i in range(len(order)):
        row = order[i]
        if i == 0 or users[row] != users[order[i - 1]]:
            number, place = 1, 1
            total += 1
        elif seconds[row] - seconds[order[i - 1]] > gap:
            number, place = number + 1, 1
            total += 1
        else:
            place += 1
        session[row], turn[row] = number, place
    return total
