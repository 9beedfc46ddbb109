"""``jurat serve``: the ingest server on this machine."""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["key", "serve"]


def serve(
    lake: Path = Path("lake"),
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 4318,
    prices: Path | None = None,
    keep_text: bool = True,
    flush_seconds: float = 5.0,
) -> int:
    """Take OpenTelemetry traces and feedback in, and commit them to a lake.

    Parameters
    ----------
    lake
        Folder of the lake; made where it is missing.
    host
        Address to listen on; other machines reach it only if you name one of theirs.
    port
        Port; 4318 is where OpenTelemetry exporters send by default.
    prices
        Price book (TOML) for costs.
    keep_text
        Whether prompts and responses are kept, redacted, at all.
    flush_seconds
        How often what was logged is committed.
    """
    try:
        import uvicorn
    except ImportError as error:
        from jurat.errors import MissingExtra

        raise MissingExtra("uvicorn", "web") from error
    from jurat.evidence.keys import home
    from jurat.store.control import Control
    from jurat.telemetry.derive import Settings
    from jurat.telemetry.ingest import Ingest
    from jurat.telemetry.prices import load_prices
    from jurat.telemetry.users import load_user_secret
    from jurat.web.app import create_app

    control = Control(home() / "control.sqlite")
    if not any("ingest" in known.roles and known.revoked is None for known in control.keys()):  # noqa: SIM118 - not a dict
        made = control.create_key(owner="first run", roles={"ingest", "analyse"})
        _say(
            f"first run: send with the header  Authorization: Bearer {made.token}\n(shown once; jurat key makes others)"
        )
    settings = Settings(
        user_secret=load_user_secret(home()),
        prices=None if prices is None else load_prices(prices),
        keep_text=keep_text,
    )
    ingest = Ingest(lake, settings, flush_seconds=flush_seconds)
    _say(f"taking OTLP at http://{host}:{port}/v1/traces into {lake}; stop with Ctrl-C")
    try:
        uvicorn.run(create_app(ingest, control), host=host, port=port, log_level="warning", access_log=False)
    finally:
        ingest.close()
    counts = ingest.counts
    _say(f"{counts.requests:,} requests, {counts.spans:,} spans, {counts.dead:,} dead letters; everything is committed")
    return 0


def key(owner: str, /, *, role: list[str] | None = None, tenant: str = "default") -> int:
    """Make a key for someone or something; its token is shown once.

    Parameters
    ----------
    owner
        The person or program it is for.
    role
        What it may do: ingest, annotate, analyse, approve, admin; ingest if none is named.
    tenant
        Whose data it reaches.
    """
    from jurat.evidence.keys import home
    from jurat.store.control import Control

    made = Control(home() / "control.sqlite").create_key(owner=owner, roles=set(role or ["ingest"]), tenant=tenant)  # type: ignore[arg-type]
    print(made.token)
    _say(f"key {made.key.id} of {owner}, roles {', '.join(sorted(made.key.roles))}; it is not shown again")
    sys.stdout.flush()
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr)
