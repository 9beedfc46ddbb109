"""The file that says whom to tell and which features may be pulled: ``operations.toml``.

Secrets never stand in it: it names the environment variable that holds each.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from jurat.errors import SpecError
from jurat.store.document import Section, read_document
from jurat.telemetry.breaker import FeaturePolicy, Wish
from jurat.telemetry.notifiers import CommandHook, Email, Notifier, Webhook

__all__ = ["Operations", "load_operations"]


class _Webhook(Section):
    name: str
    url: str
    secret_env: str
    insecure: bool = False


class _Email(Section):
    name: str
    host: str
    port: int = 587
    sender: str
    recipients: tuple[str, ...]
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str | None = None
    password_env: str | None = None


class _Command(Section):
    name: str
    arguments: tuple[str, ...]
    timeout_seconds: float = Field(default=30.0, gt=0)


class _Feature(Section):
    name: str
    two_person: frozenset[Wish] = frozenset()
    open_minutes: float = Field(default=60.0, gt=0)
    proposal_minutes: float = Field(default=60.0, gt=0)


class _Document(Section):
    webhook: tuple[_Webhook, ...] = ()
    email: tuple[_Email, ...] = ()
    command: tuple[_Command, ...] = ()
    feature: tuple[_Feature, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """Whom to tell, and what may be pulled.

    Attributes
    ----------
    notifiers
        Webhooks, e-mails and commands.
    features
        Policies of the breakers.
    """

    notifiers: tuple[Notifier, ...] = ()
    features: tuple[FeaturePolicy, ...] = ()


def load_operations(path: Path) -> Operations:
    """Read the file; secrets come from the environment.

    Parameters
    ----------
    path
        The TOML file.

    Raises
    ------
    SpecError
        Where it cannot be followed, two channels have one name, or a variable is not set.
    """
    document = read_document(
        path, _Document, what="operations file", reference="docs/reference/operations-file.md"
    ).content
    notifiers: list[Notifier] = [
        Webhook(name=w.name, url=w.url, secret=_secret(w.secret_env, path).encode(), insecure=w.insecure)
        for w in document.webhook
    ]
    notifiers += [
        Email(
            name=e.name,
            host=e.host,
            port=e.port,
            sender=e.sender,
            recipients=e.recipients,
            security=e.security,
            user=e.user,
            password=None if e.password_env is None else _secret(e.password_env, path),
        )
        for e in document.email
    ]
    notifiers += [
        CommandHook(name=c.name, arguments=c.arguments, timeout_seconds=c.timeout_seconds) for c in document.command
    ]
    features = tuple(
        FeaturePolicy(
            feature=f.name, two_person=f.two_person, open_minutes=f.open_minutes, proposal_minutes=f.proposal_minutes
        )
        for f in document.feature
    )
    for kind, names in (("channels", [n.name for n in notifiers]), ("features", [f.feature for f in features])):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SpecError(f"{path.name}: two {kind} have one name", seen=", ".join(twice), next_step="rename one")
    return Operations(notifiers=tuple(notifiers), features=features)


def _secret(variable: str, path: Path) -> str:
    value = os.environ.get(variable, "")
    if not value:
        raise SpecError(
            f"{path.name}: a secret is not there",
            seen=f"the environment variable {variable} is empty or not set",
            next_step="set it; secrets do not stand in files",
        )
    return value
