"""How people and machines are told: a signed webhook, an e-mail, a command.

Each sends one message or says why it could not, and whether trying again makes sense. Nothing that goes into a log or a
database names a secret: of a webhook only the host is told, of a mail server only its code.

A webhook's signature is an HMAC-SHA256 over time, delivery and body, so that a receiver knows the sender, refuses what is old
and drops what comes twice; `verify_webhook` is what a receiver does.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import os
import smtplib
import ssl
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from jurat.errors import IntegrityError, JuratError, SpecError

__all__ = [
    "CommandHook",
    "DeliveryFailed",
    "Email",
    "Message",
    "Notifier",
    "Webhook",
    "sign_webhook",
    "verify_webhook",
]

DELIVERY_HEADER = "Jurat-Delivery"
TIMESTAMP_HEADER = "Jurat-Timestamp"
SIGNATURE_HEADER = "Jurat-Signature"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_RETRIED_STATUS = (408, 425, 429)
_LONGEST_WAIT = 3_600.0


class DeliveryFailed(JuratError):
    """A message could not be delivered.

    Parameters
    ----------
    what
        Why; free of secrets.
    permanent
        Whether trying again is of no use.
    retry_after
        Seconds the receiver asked to wait.
    """

    def __init__(self, what: str, *, permanent: bool = False, retry_after: float | None = None) -> None:
        super().__init__(what)
        self.permanent = permanent
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is told: the delivery's id, one line, and the document (JSON types)."""

    id: str
    subject: str
    document: Mapping[str, Any]

    def body(self) -> bytes:
        """The document as JSON."""
        return json.dumps(self.document, ensure_ascii=False, allow_nan=False, sort_keys=True).encode()


class Notifier(Protocol):
    """A way to tell."""

    @property
    def name(self) -> str:
        """Name that deliveries are kept under."""
        ...

    def send(self, message: Message, *, now: float) -> None:
        """Deliver one message (``now`` in seconds since 1970) or raise `DeliveryFailed`."""
        ...


def sign_webhook(secret: bytes, *, timestamp: int, delivery: str, body: bytes) -> str:
    """Signature of a webhook: HMAC-SHA256 over ``timestamp.delivery.body``.

    Examples
    --------
    >>> sign_webhook(b"k", timestamp=0, delivery="d", body=b"{}")[:20]
    'sha256=53ed16a97c89e'
    """
    signed = f"{timestamp}.{delivery}.".encode() + body
    return "sha256=" + hmac.new(secret, signed, hashlib.sha256).hexdigest()


def verify_webhook(
    secret: bytes, headers: Mapping[str, str], body: bytes, *, now: float, tolerance_seconds: float = 300.0
) -> str:
    """Check a webhook as its receiver; return the delivery's id, by which what comes twice can be dropped.

    Parameters
    ----------
    secret
        Shared with the sender.
    headers, body
        As received.
    now
        The receiver's clock, in seconds since 1970.
    tolerance_seconds
        How old a message may be, so that a recorded one cannot be played again.

    Raises
    ------
    IntegrityError
        Where a header is missing, the time is out of tolerance or the signature is wrong.
    """
    held = {name.lower(): value for name, value in headers.items()}
    timestamp = held.get(TIMESTAMP_HEADER.lower(), "")
    delivery = held.get(DELIVERY_HEADER.lower(), "")
    if not timestamp.isdigit() or abs(now - int(timestamp)) > tolerance_seconds:
        raise IntegrityError(
            "the webhook is too old or has no time", seen=repr(timestamp), next_step="check both clocks"
        )
    expected = sign_webhook(secret, timestamp=int(timestamp), delivery=delivery, body=body)
    if not hmac.compare_digest(expected.encode(), held.get(SIGNATURE_HEADER.lower(), "").encode()):
        raise IntegrityError("the webhook's signature does not hold", next_step="compare the secret of both sides")
    return delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """POST of the document, signed. Redirects are not followed, proxies not used.

    Attributes
    ----------
    name
        Name that deliveries are kept under.
    url
        ``https``; ``http`` on loopback, or elsewhere where ``insecure`` says so.
    secret
        Key of the signature.
    insecure
        Whether plain ``http`` beyond loopback is accepted.
    timeout_seconds
        For the connection and for each read.
    """

    name: str
    url: str = field(repr=False)
    secret: bytes = field(repr=False)
    insecure: bool = False
    timeout_seconds: float = 10.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise SpecError(
                f"webhook {self.name}: not an address to post to",
                seen=f"{parts.scheme}://{parts.hostname or ''}",
                next_step="give an https address without user and password",
            )
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK and not self.insecure:
            raise SpecError(
                f"webhook {self.name}: plain http beyond this machine",
                seen=parts.hostname,
                next_step="use https, or say insecure = true",
            )
        if not self.secret:
            raise SpecError(f"webhook {self.name}: no secret", next_step="set the environment variable it names")

    def send(self, message: Message, *, now: float) -> None:
        """Post one message."""
        parts, body = urlsplit(self.url), message.body()
        timestamp = int(now)
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "jurat",
            TIMESTAMP_HEADER: str(timestamp),
            DELIVERY_HEADER: message.id,
            SIGNATURE_HEADER: sign_webhook(self.secret, timestamp=timestamp, delivery=message.id, body=body),
        }
        host = parts.hostname or ""
        connection = (
            http.client.HTTPSConnection(
                host, parts.port, timeout=self.timeout_seconds, context=ssl.create_default_context()
            )
            if parts.scheme == "https"
            else http.client.HTTPConnection(host, parts.port, timeout=self.timeout_seconds)
        )
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            connection.request("POST", target, body=body, headers=headers)
            answer = connection.getresponse()
            answer.read(65_536)
        except (OSError, http.client.HTTPException) as error:
            raise DeliveryFailed(f"{host}: {_told(error)}") from error
        finally:
            connection.close()
        if 200 <= answer.status < 300:
            return
        raise DeliveryFailed(
            f"{host} answered {answer.status}",
            permanent=300 <= answer.status < 500 and answer.status not in _RETRIED_STATUS,
            retry_after=_seconds(answer.getheader("Retry-After")),
        )


def _seconds(header: str | None) -> float | None:
    """Seconds of a Retry-After header; a date, which some send, is not worth trusting their clock for."""
    return min(float(header), _LONGEST_WAIT) if header is not None and header.isdigit() else None


def _told(error: Exception) -> str:
    """An error without its text, which may quote what was sent."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    code = getattr(error, "errno", None)
    return f"{type(error).__name__}" + (f" ({os.strerror(code)})" if isinstance(code, int) and code > 0 else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Email:
    """A plain-text e-mail by SMTP.

    Attributes
    ----------
    name
        Name that deliveries are kept under.
    host, port
        Mail server.
    sender, recipients
        Addresses.
    security
        ``"starttls"`` (default), ``"tls"``, or ``"none"`` for a relay on loopback.
    user, password
        Where the server asks for them.
    timeout_seconds
        For each step.
    """

    name: str
    host: str
    port: int = 587
    sender: str
    recipients: tuple[str, ...]
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    timeout_seconds: float = 10.0

    def __post_init__(self) -> None:
        if not self.recipients:
            raise SpecError(f"e-mail {self.name}: no recipient", next_step="name one")
        if self.security == "none" and self.host not in _LOOPBACK:
            raise SpecError(
                f"e-mail {self.name}: an unencrypted connection beyond this machine",
                seen=self.host,
                next_step="use starttls or tls",
            )

    def send(self, message: Message, *, now: float) -> None:
        """Send one message."""
        mail = EmailMessage()
        # Slice names come from traffic: what would break a header's line is taken out.
        mail["Subject"] = _printable(message.subject)[:200]
        mail["From"], mail["To"] = self.sender, ", ".join(self.recipients)
        mail["Message-ID"] = f"<{message.id}@jurat>"
        mail.set_content(_letter(message))
        try:
            with self._connected() as server:
                if self.security == "starttls":
                    server.starttls(context=ssl.create_default_context())
                if self.user is not None and self.password is not None:
                    server.login(self.user, self.password)
                server.send_message(mail)
        except smtplib.SMTPResponseException as error:
            raise DeliveryFailed(
                f"{self.host} answered {error.smtp_code}", permanent=500 <= error.smtp_code < 600
            ) from error
        except smtplib.SMTPRecipientsRefused as error:
            codes = sorted({code for code, _ in error.recipients.values()})
            raise DeliveryFailed(f"{self.host} refused the recipients {codes}", permanent=min(codes) >= 500) from error
        except (smtplib.SMTPException, OSError) as error:
            raise DeliveryFailed(f"{self.host}: {_told(error)}") from error

    def _connected(self) -> smtplib.SMTP:
        # The name in the greeting is fixed: looking up the machine's own would wait for a name server.
        if self.security == "tls":
            return smtplib.SMTP_SSL(
                self.host,
                self.port,
                local_hostname="jurat",
                timeout=self.timeout_seconds,
                context=ssl.create_default_context(),
            )
        return smtplib.SMTP(self.host, self.port, local_hostname="jurat", timeout=self.timeout_seconds)


def _letter(message: Message) -> str:
    lines = [_printable(message.subject), ""]
    for name, value in message.document.items():
        lines.append(
            f"{name}: {_printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))}"
        )
    return "\n".join(lines) + "\n"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandHook:
    """A program that gets the document on its standard input. No shell; nothing of the document is in its arguments.

    Attributes
    ----------
    name
        Name that deliveries are kept under.
    arguments
        Program and arguments.
    timeout_seconds
        After which it is killed.
    """

    name: str
    arguments: tuple[str, ...]
    timeout_seconds: float = 30.0

    def __post_init__(self) -> None:
        if not self.arguments:
            raise SpecError(f"command {self.name}: no program", next_step="give program and arguments as a list")

    def send(self, message: Message, *, now: float) -> None:
        """Run the program once."""
        # Secrets of other channels live in the environment; the hook sees none of it.
        environment = {"PATH": os.environ.get("PATH", os.defpath), "JURAT_DELIVERY": message.id}
        try:
            done = subprocess.run(
                self.arguments,
                input=message.body(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                timeout=self.timeout_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DeliveryFailed(f"{self.name}: no end after {self.timeout_seconds:g} s") from error
        except OSError as error:
            raise DeliveryFailed(
                f"{self.name}: {_told(error)}", permanent=isinstance(error, FileNotFoundError)
            ) from error
        if done.returncode != 0:
            raise DeliveryFailed(f"{self.name} ended with {done.returncode}")
