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
    Turns are gathered by user by counting, which is linear; a user's own are mostly in order already and are put so by
    insertion, or by merging where they are not.

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
    n_users = int(users.max()) + 1
    if n_users > 4 * len(users) + 1024:
        # Codes with wide gaps would cost more room than turns.
        users = np.unique(users, return_inverse=True)[1].astype(np.int64)
        n_users = int(users.max()) + 1
    session, turn = np.empty(len(users), np.int32), np.empty(len(users), np.int32)
    count = _number(users.astype(np.int64), seconds.astype(np.int64), n_users, gap_seconds, session, turn)
    return Sessions(session=session, turn=turn, n_sessions=int(count))


@nb.njit(cache=True, nogil=True)
def _number(users, seconds, n_users, gap, session, turn):  # type: ignore[no-untyped-def]
    """Gather each user's turns by counting, put them in order where they are not, number them."""
    ends = np.zeros(n_users + 1, np.int64)
    for i in range(len(users)):
        ends[users[i] + 1] += 1
    for u in range(n_users):
        ends[u + 1] += ends[u]
    places = ends[:-1].copy()
    rows, times = np.empty(len(users), np.int64), np.empty(len(users), np.int64)
    for i in range(len(users)):
        place = places[users[i]]
        rows[place], times[place] = i, seconds[i]
        places[users[i]] = place + 1
    total = 0
    for u in range(n_users):
        total += _number_one(rows[ends[u] : ends[u + 1]], times[ends[u] : ends[u + 1]], gap, session, turn)
    return total


@nb.njit(cache=True, nogil=True)
def _number_one(rows, times, gap, session, turn):  # type: ignore[no-untyped-def]
    """Number one user's turns: how many sessions there are."""
    _sort_by_time(rows, times)
    number, place = 0, 0
    for i in range(len(rows)):
        if i == 0 or times[i] - times[i - 1] > gap:
            number, place = number + 1, 0
        place += 1
        session[rows[i]], turn[rows[i]] = number, place
    return number


@nb.njit(cache=True, nogil=True)
def _sort_by_time(rows, times):  # type: ignore[no-untyped-def]
    """Sort both by time, turns of one second in their order: by insertion while that is cheap, else by merging."""
    moves = 0
    for i in range(1, len(times)):
        time, row, j = times[i], rows[i], i
        while j > 0 and times[j - 1] > time:
            times[j], rows[j] = times[j - 1], rows[j - 1]
            j -= 1
        times[j], rows[j] = time, row
        moves += i - j
        if moves > 8 * len(times) + 64:
            # Insertion is stable, so what is done so far is a good beginning for any stable sort.
            order = np.argsort(times, kind="mergesort")
            times[:], rows[:] = times[order], rows[order]
            return
