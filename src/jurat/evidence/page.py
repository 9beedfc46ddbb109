"""A page that can be handed on: one HTML file without script or outside request, and a policy that forbids both.

Every stage that reports renders its own template here, so that all pages share one sheet, one way to escape and one content
security policy, whose hash is that of the very style they carry.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

__all__ = ["render_page", "stamp"]

_STAMPS = {
    "pass": (("PASS",), "ok"),
    "fail": (("FAIL",), "bad"),
    "not enough evidence": (("NOT ENOUGH", "EVIDENCE"), "watch"),
    "invalid": (("INVALID",), "bad"),
}


def stamp(verdict: str) -> dict[str, Any]:
    """Lay out the seal of a verdict: its words, its state, and where the lines stand.

    Examples
    --------
    >>> stamp("not_enough_evidence")["lines"], stamp("pass")["state"]
    (('NOT ENOUGH', 'EVIDENCE'), 'ok')
    """
    lines, state = _STAMPS[verdict.replace("_", " ")]
    first = 58 if len(lines) == 1 else 48
    return {
        "word": " ".join(lines),
        "lines": lines,
        "state": state,
        "first": first,
        "foot": first + 19 * len(lines) + 5,
    }


def render_page(package: str, template: str, *, style: str = "", **context: Any) -> str:
    """Render a template of a package as a self-contained page.

    Parameters
    ----------
    package
        Whose ``templates`` folder holds it: ``"jurat.launch"``.
    template
        Name of the file; it finds the whole style as ``style`` and its hash for the policy as ``style_hash``.
    style
        Name of a style sheet of the package that is added to the common one.
    context
        What the template speaks of; everything is escaped unless it is `markupsafe.Markup`.

    Returns
    -------
    str
        HTML; the same input gives the same bytes.
    """
    sheet = _read("jurat.evidence", "sheet.css") + (_read(package, style) if style else "")
    digest = base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_read(package, template)).render(
        style=Markup(sheet),  # noqa: S704 - our own files
        style_hash=f"sha256-{digest}",
        **context,
    )


def _read(package: str, name: str) -> str:
    return (resources.files(package) / "templates" / name).read_text(encoding="utf-8")
