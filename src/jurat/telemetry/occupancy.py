"""Who was on a GPU when: segments between changes, and each user's part of them where jobs share it."""

from __future__ import annotations

import bisect
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jurat.telemetry.cost_records import Key, Usage

__all__ = ["Occupancy", "Timeline"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupancy:
    """Who used a resource within a period.

    Attributes
    ----------
    parts
        By experiment, run and person: GPU-microseconds times ``factor``, whole numbers.
    factor
        What parts are to be divided by.
    shared_us
        GPU-microseconds in which several asked for more than there was.
    """

    parts: dict[Key, int]
    factor: int
    shared_us: int


@dataclass(slots=True)
class Timeline:
    """Who was on a resource when: segments between changes, sorted, without those in which nobody was.

    Attributes
    ----------
    starts, ends
        Microseconds since 1970.
    active
        GPUs held by experiment, run and person.
    """

    starts: list[int]
    ends: list[int]
    active: list[dict[Key, int]]

    @classmethod
    def of(cls, usage: Iterable[Usage], until_us: int) -> Timeline:
        """Walk through starts and ends.

        Parameters
        ----------
        usage
            Records of one resource, in any order. Where records of one named job cover each other, the larger
            counts.
        until_us
            The end of jobs that still run.
        """
        changes: dict[int, list[tuple[tuple[Key, str], int]]] = defaultdict(list)
        for place, one in enumerate(usage):
            end = until_us if one.end_us is None else one.end_us
            if end > one.start_us:
                who = (one.key, f"\0{place}" if one.job is None else one.job)
                changes[one.start_us].append((who, one.gpus))
                changes[end].append((who, -one.gpus))
        found = cls([], [], [])
        now: dict[tuple[Key, str], list[int]] = {}
        for time in sorted(changes):
            if now:
                found.ends.append(time)
            for who, gpus in changes[time]:
                if gpus > 0:
                    now.setdefault(who, []).append(gpus)
                else:
                    now[who].remove(-gpus)
                    if not now[who]:
                        del now[who]
            if now:
                held: dict[Key, int] = defaultdict(int)
                for (key, _), each in now.items():
                    held[key] += max(each)
                found.starts.append(time)
                found.active.append(held)
        return found

    def within(self, start_us: int, end_us: int) -> Iterator[tuple[int, dict[Key, int]]]:
        """Length and users of each segment, cut to a period."""
        for place in range(bisect.bisect_right(self.ends, start_us), len(self.starts)):
            if self.starts[place] >= end_us:
                break
            yield min(self.ends[place], end_us) - max(self.starts[place], start_us), self.active[place]

    def asked(self, start_us: int, end_us: int) -> int:
        """GPU-microseconds that were asked for within a period."""
        return sum(length * sum(held.values()) for length, held in self.within(start_us, end_us))

    def used(self, start_us: int, end_us: int, slots: int) -> Occupancy:
        """Who used how much of a period.

        Parameters
        ----------
        start_us, end_us
            The period.
        slots
            How many GPUs there are. Where more are asked for, those at work share them in proportion to what they asked.
        """
        segments = [(length, held, sum(held.values())) for length, held in self.within(start_us, end_us)]
        # A common multiple of what was asked for keeps every part a whole number.
        factor = math.lcm(*{asked for _, _, asked in segments if asked > slots})
        parts: dict[Key, int] = defaultdict(int)
        shared = 0
        for length, held, asked in segments:
            scale = factor // asked * slots if asked > slots else factor
            for key, gpus in held.items():
                parts[key] += length * gpus * scale
            shared += length * slots if asked > slots and len(held) > 1 else 0
        return Occupancy(parts=parts, factor=factor, shared_us=shared)
