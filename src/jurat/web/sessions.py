"""Who is at the browser: sessions that live on the server, known to the browser by an opaque id only.

The id is random, is kept hashed, is renewed at every login and dies after twelve hours or with the process. Guessing is
slowed: after ten wrong tries an address waits.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from jurat.errors import JuratError
from jurat.store.control import AccessDenied, ApiKey, Control, Role

__all__ = ["LIFE_SECONDS", "Person", "Sessions", "TooManyTries"]

LIFE_SECONDS = 12 * 3600
"""How long a login lasts."""

_TRIES, _PAUSE_SECONDS = 10, 300.0
_MOST_SESSIONS, _MOST_ADDRESSES = 4096, 4096
_MOST_OF_A_KEY = 64
"""Sessions of one key: whoever logs in again and again ends their own, and nobody else's."""
_OWNER_ROLES: frozenset[Role] = frozenset({"annotate", "analyse", "approve", "admin"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who asks.

    Attributes
    ----------
    name
        Owner of the key; it stands in logs of reading and in acts.
    tenant
        Whose data are shown; every read filters by it.
    roles
        What may be done.
    csrf
        Token that the forms of this session carry; empty for a key in a header, which no other site can send.
    """

    name: str
    tenant: str
    roles: frozenset[Role]
    csrf: str = field(default="", repr=False)

    @property
    def only_org(self) -> str | None:
        """Organisation whose rows may be shown; ``None`` for the default tenant, to which the whole lake belongs.

        Every read of the lake for a page or a file takes its filter from here and nowhere else.
        """
        return None if self.tenant == "default" else self.tenant


class TooManyTries(JuratError):
    """An address guessed too often.

    Attributes
    ----------
    retry_after
        Seconds until it may try again.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__("too many wrong tries", next_step=f"wait {retry_after} s and try again")
        self.retry_after = retry_after


@dataclass(slots=True)
class _Session:
    person: Person
    ends: float
    key_id: str | None


class Sessions:
    """Sessions of one server.

    Parameters
    ----------
    control
        Where keys are checked.
    token
        Token of the person who started the server; a random one by default.
    clock
        Seconds, never going back.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> sessions = Sessions(Control(Path(tempfile.mkdtemp()) / "control.sqlite"), token="from-the-terminal")
    >>> cookie = sessions.open("from-the-terminal", address="127.0.0.1")
    >>> sessions.person(cookie).tenant
    'default'
    >>> sessions.close(cookie)
    >>> sessions.person(cookie) is None
    True
    """

    def __init__(
        self, control: Control, *, token: str | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.control = control
        self.first_token = token or secrets.token_urlsafe(32)
        self.form_token = secrets.token_urlsafe(32)
        self._clock = clock
        self._held: OrderedDict[bytes, _Session] = OrderedDict()
        self._wrong: OrderedDict[str, deque[float]] = OrderedDict()

    def open(self, secret: str, *, address: str, replaces: str | None = None) -> str:
        """Begin a session with the token of the terminal or an API key.

        Parameters
        ----------
        secret
            What was typed or pasted.
        address
            Where it came from.
        replaces
            Id of the browser's session so far, which ends: an id from before the login is never one after it.

        Returns
        -------
        str
            The id for the cookie.

        Raises
        ------
        TooManyTries
            Where the address guessed too often.
        AccessDenied
            Where the secret opens nothing.
        """
        now = self._clock()
        wrong = self._wrong.get(address, deque())
        while wrong and wrong[0] <= now - _PAUSE_SECONDS:
            wrong.popleft()
        if len(wrong) >= _TRIES:
            raise TooManyTries(int(wrong[0] + _PAUSE_SECONDS - now) + 1)
        try:
            owner, tenant, roles, key_id = self._known(secret)
        except AccessDenied:
            wrong.append(now)
            self._wrong[address] = wrong
            self._wrong.move_to_end(address)
            while len(self._wrong) > _MOST_ADDRESSES:
                self._wrong.popitem(last=False)
            raise
        self._wrong.pop(address, None)
        if replaces:
            self.close(replaces)
        cookie = secrets.token_urlsafe(32)
        person = Person(name=owner, tenant=tenant, roles=roles, csrf=secrets.token_urlsafe(32))
        self._held[_hashed(cookie)] = _Session(person, now + LIFE_SECONDS, key_id)
        own = [name for name, held in list(self._held.items()) if held.key_id == key_id]
        for name in own[:-_MOST_OF_A_KEY]:
            self._held.pop(name, None)
        while len(self._held) > _MOST_SESSIONS:
            self._held.popitem(last=False)
        return cookie

    def person(self, cookie: str | None) -> Person | None:
        """Person of a session that still lasts; a key that was revoked meanwhile ends it."""
        name = _hashed(cookie or "")
        held = self._held.get(name)
        if held is None:
            return None
        if held.ends <= self._clock() or (held.key_id is not None and not self._is_good(held.key_id)):
            self._held.pop(name, None)
            return None
        return held.person

    def close(self, cookie: str | None) -> None:
        """End a session, if there is one."""
        self._held.pop(_hashed(cookie or ""), None)

    def _known(self, secret: str) -> tuple[str, str, frozenset[Role], str | None]:
        if self.is_first(secret):
            return "owner", "default", _OWNER_ROLES, None
        key = self.key(secret)
        return key.owner, key.tenant, key.roles, key.id

    def is_first(self, secret: str) -> bool:
        """Whether this is the token of who started the server."""
        return hmac.compare_digest(_hashed(secret), _hashed(self.first_token))

    def key(self, token: str) -> ApiKey:
        """Check a key for whatever role it has."""
        listed = {f"jrt_{key.id}_": key for key in self.control.keys()}  # noqa: SIM118 - not a dict
        found = listed.get(token[: len("jrt__") + 16])
        role: Role = min(found.roles) if found else "analyse"
        return self.control.verify_key(token, role=role)

    def _is_good(self, key_id: str) -> bool:
        now = dt.datetime.now(dt.UTC).isoformat(timespec="microseconds")
        return any(
            key.id == key_id and key.revoked is None and (key.expires is None or key.expires > now)
            for key in self.control.keys()  # noqa: SIM118 - not a dict
        )


def _hashed(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
