"""What is paid and what is used: lines of an invoice, records of a scheduler, and the checks both must pass."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

from jurat.errors import DataError, UnknownName

__all__ = ["HOUR_US", "NANO", "TOKEN_UNITS", "Charge", "Key", "Usage", "minor_digits", "money_text"]

NANO = 10**9
"""Parts of a currency's smallest unit (a cent) that charges are counted in."""

HOUR_US = 3_600_000_000
"""Microseconds of an hour."""

TOKEN_UNITS = {
    "token": 1,
    "tokens": 1,
    "1k tokens": 10**3,
    "thousand tokens": 10**3,
    "1m tokens": 10**6,
    "million tokens": 10**6,
}
"""Units of tokens that a charge may be in, in tokens."""

_DIGITS = {0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF", 3: "BHD IQD JOD KWD LYD OMR TND",
           2: "AED ARS AUD BDT BGN BRL CAD CHF CNY COP CZK DKK EGP EUR GBP HKD HUF IDR ILS INR KES LKR MAD MXN MYR NGN NOK "
              "NZD PEN PHP PKR PLN QAR RON RSD SAR SEK SGD THB TRY TWD UAH USD UYU ZAR"}  # fmt: skip
_MINOR = {code: digits for digits, codes in _DIGITS.items() for code in codes.split()}
_TIME_UNITS = ("hour", "hours", "gpu-hour", "gpu-hours", "gpu hours", "h", "hrs")

Key = tuple[str | None, str | None, str | None]
"""Experiment, run and person."""


def minor_digits(currency: str) -> int:
    """Decimal digits of a currency's smallest unit.

    Raises
    ------
    UnknownName
        Where it is none of the currencies (ISO 4217) known here.

    Examples
    --------
    >>> minor_digits("USD"), minor_digits("JPY")
    (2, 0)
    """
    if currency not in _MINOR:
        raise UnknownName("currency", currency, _MINOR)
    return _MINOR[currency]


def money_text(minor: int, currency: str) -> str:
    """Write an amount of smallest units.

    Examples
    --------
    >>> money_text(123456, "USD"), money_text(-5, "JPY")
    ('1,234.56 USD', '-5 JPY')
    """
    digits = minor_digits(currency)
    return f"{Decimal(minor).scaleb(-digits):,.{digits}f} {currency}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """A line of an invoice; FOCUS 1.2 names in brackets.

    Attributes
    ----------
    start_us, end_us
        Period, microseconds since 1970; the end is not part of it (ChargePeriodStart, ChargePeriodEnd).
    billed
        Billionths of the currency's smallest unit (BilledCost).
    currency
        ISO 4217 (BillingCurrency).
    invoice, service, sku
        InvoiceId, ServiceName, SkuId; empty where there is none.
    resource
        The GPU or node it pays for (ResourceId); empty for a pool, or for tokens.
    quantity, unit
        ConsumedQuantity and ConsumedUnit: hours, or tokens; other units cannot be split by usage.
    place
        File and line, for messages.
    """

    start_us: int
    end_us: int
    billed: int
    currency: str
    invoice: str = ""
    service: str = ""
    sku: str = ""
    resource: str = ""
    quantity: float | None = None
    unit: str = ""
    place: str = "a charge"

    def __post_init__(self) -> None:
        minor_digits(self.currency)
        _check(self.end_us > self.start_us, self.place, "the period ends before it has begun", _span(self), "mend it")
        _check(
            self.billed >= 0, self.place, "a charge is negative", f"{self.billed / NANO:g} in the smallest unit",
            "take credits off the charges they belong to, or leave them out and say so",
        )  # fmt: skip
        wrong = self.quantity is not None and not (math.isfinite(self.quantity) and self.quantity >= 0)
        _check(not wrong, self.place, "the quantity is negative or no number", repr(self.quantity), "mend it")

    @property
    def measure(self) -> str:
        """What it is split by: ``"time"``, ``"tokens"`` or ``""``."""
        unit = self.unit.lower()
        if unit in TOKEN_UNITS:
            return "tokens"
        return "time" if unit in _TIME_UNITS or (not unit and self.resource) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What somebody used: a GPU for a time, or tokens.

    Attributes
    ----------
    start_us, end_us
        When; ``end_us`` is ``None`` for a job that still runs. Tokens belong to the period in which they start.
    experiment, run, person, job
        For whom; any may be ``None``.
    gpu
        The GPU or node; empty where the scheduler names none.
    gpus
        How many of it.
    sku
        What kind (a model, a GPU type), to match a charge's SkuId.
    tokens
        How many, for a record of tokens.
    place
        File and line, for messages.
    """

    start_us: int
    end_us: int | None = None
    experiment: str | None = None
    run: str | None = None
    person: str | None = None
    job: str | None = None
    gpu: str = ""
    gpus: int = 1
    sku: str = ""
    tokens: int | None = None
    place: str = "a usage record"

    def __post_init__(self) -> None:
        late = self.end_us is not None and self.end_us < self.start_us
        _check(not late, self.place, "the usage ends before it starts", _span(self), "mend the record")
        _check(self.gpus >= 1, self.place, "the number of GPUs is not positive", str(self.gpus), "mend the record")
        negative = self.tokens is not None and self.tokens < 0
        _check(not negative, self.place, "the number of tokens is negative", str(self.tokens), "mend the record")

    @property
    def key(self) -> Key:
        """Experiment, run and person."""
        return (self.experiment, self.run, self.person)


def _check(holds: bool, place: str, what: str, seen: str, next_step: str) -> None:
    if not holds:
        raise DataError(f"{place}: {what}", seen=seen, next_step=next_step)


def _span(of: Charge | Usage) -> str:
    return f"from {of.start_us} to {of.end_us} (microseconds since 1970)"
