"""The one place where rows are kept apart: a lake's tables as the tenant of a key may see them.

Every statement that a page or an export runs for a person goes through a view. The house's own tenant sees every row, any
other the rows of the organisation of that name. Feedback, labels and scores hang on a turn's id, which a client chooses:
they are shown only where no other organisation has used the same id. Text carries its organisation.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
from sqlglot import exp

from jurat.errors import UnknownName, UsageError
from jurat.store.engine import DuckDB, Engine, Scalar
from jurat.store.lake import Lake
from jurat.store.lint import parse
from jurat.store.schema import TABLES
from jurat.telemetry.derive import HOUSE_TENANT

__all__ = ["HOUSE_TENANT", "TenantView", "open_tenant_view"]

_OWN, _SINCE, _UNTIL = "$scope_tenant", "$scope_since", "$scope_until"
_OWN_TURNS = (
    "SELECT span_id FROM main.spans GROUP BY span_id "  # noqa: S608 - names from code
    f"HAVING COUNT(org_id) = COUNT(*) AND MIN(org_id) = {_OWN} AND MAX(org_id) = {_OWN}"
)
_BY_TURN = {"feedback": "span_id", "labels": "subject_id", "scores": "subject_id"}
_BY_COLUMN = {"spans": "org_id", "span_text": "org_id", "rollup_1m": "org_id", "dead_letters": "tenant"}
_KNOWN = _BY_TURN.keys() | _BY_COLUMN.keys()
_TABLES = ("spans", "span_text", "feedback", "labels")
_THREADS = 2
_DUCKDB = {
    pa.string(): "VARCHAR", pa.int32(): "INTEGER", pa.int64(): "BIGINT", pa.float64(): "DOUBLE", pa.bool_(): "BOOLEAN",
    pa.timestamp("us", tz="UTC"): "TIMESTAMPTZ",
}  # fmt: skip


class TenantView:
    """An engine that answers for one tenant.

    Parameters
    ----------
    engine
        Where the tables are.
    tenant
        Whose rows are seen.
    replaced
        Columns of ``spans`` that are taken from another expression, by name: so a metric that is cut by ``release``
        compares models. Names and expressions come from code, never from a person.
    since_us, until_us
        Only turns from, and before, these microseconds since 1970; ``None`` for no limit.
    missing
        Tables that the engine does not have: they are empty.

    Raises
    ------
    UsageError
        For a tenant without a name, which would see nothing or, worse, rows of nobody.

    Examples
    --------
    >>> spans = pa.table({"span_id": ["a", "b"], "org_id": ["acme", "globex"]})
    >>> view = TenantView(DuckDB.from_tables({"spans": spans}), tenant="acme")
    >>> view.query("SELECT span_id FROM spans").to_pylist()
    [{'span_id': 'a'}]
    """

    def __init__(
        self,
        engine: Engine,
        *,
        tenant: str,
        replaced: Mapping[str, str] | None = None,
        since_us: int | None = None,
        until_us: int | None = None,
        missing: Collection[str] = (),
    ) -> None:
        if not tenant:
            raise UsageError("a view needs its tenant", seen=repr(tenant), next_step="take that of the person's key")
        self.engine, self.tenant = engine, tenant
        self.replaced, self.missing = dict(replaced or {}), frozenset(missing)
        self.since_us, self.until_us = since_us, until_us

    @property
    def name(self) -> str:
        """Name of the engine below."""
        return self.engine.name

    @property
    def version(self) -> str:
        """Version of the engine below."""
        return self.engine.version

    def narrowed(
        self, *, replaced: Mapping[str, str] | None = None, since_us: int | None = None, until_us: int | None = None
    ) -> TenantView:
        """Make a narrower view on the same engine; parameters as for the class."""
        return TenantView(
            self.engine,
            tenant=self.tenant,
            replaced={**self.replaced, **(replaced or {})},
            since_us=self.since_us if since_us is None else since_us,
            until_us=self.until_us if until_us is None else until_us,
            missing=self.missing,
        )

    def query(self, sql: str, *, parameters: Mapping[str, Scalar] | None = None) -> pa.Table:
        """Run a SELECT over the rows of the tenant.

        Parameters
        ----------
        sql
            In DuckDB's dialect.
        parameters
            Its parameters; names that begin with ``scope_`` are the view's own.
        """
        whole, bound = self.statement(sql)
        return self.engine.query(whole, parameters={**(parameters or {}), **bound})

    def statement(self, sql: str) -> tuple[str, dict[str, Scalar]]:
        """Write the statement that is run, and the values of the view's own parameters.

        Examples
        --------
        >>> view = TenantView(DuckDB.from_tables({"spans": TABLES["spans"].empty_table()}), tenant="acme", until_us=9)
        >>> print(view.statement("SELECT COUNT(*) AS n FROM spans")[0])
        WITH spans AS (SELECT * FROM main.spans WHERE org_id = $scope_tenant AND ts_us < $scope_until)
        SELECT COUNT(*) AS n FROM spans
        """
        tables = {table.name for table in parse(sql).find_all(exp.Table)}
        selects = {name: self._select(name) for name in sorted(tables & _KNOWN)}
        views = [f"{name} AS ({select})" for name, select in selects.items() if select != _all_of(name)]
        if not views:
            return sql, {}
        written = ",\n".join(views)
        values = {_OWN: self.tenant, _SINCE: self.since_us, _UNTIL: self.until_us}
        bound: dict[str, Scalar] = {name[1:]: value for name, value in values.items() if name in written}
        rest = sql.strip()
        joint = ",\n" + rest[5:] if rest[:5].upper() == "WITH " else "\n" + rest
        return f"WITH {written}{joint}", bound

    def _select(self, table: str) -> str:
        """SELECT of a table's rows that this view shows."""
        if table in self.missing or ((table in _BY_TURN or table == "span_text") and "spans" in self.missing):
            columns = ", ".join(f'CAST(NULL AS {_DUCKDB[f.type]}) AS "{f.name}"' for f in TABLES[table])
            return f"SELECT {columns} WHERE FALSE"
        rows, conditions = _all_of(table), []
        if self.tenant != HOUSE_TENANT and table in _BY_TURN:
            conditions.append(f"{_BY_TURN[table]} IN ({_OWN_TURNS})")
        elif self.tenant != HOUSE_TENANT:
            own = f"{_BY_COLUMN[table]} = {_OWN}"
            # Words that the house sent carry no organisation: they go with the turn.
            own_turn = f"({own} OR ({_BY_COLUMN[table]} IS NULL AND span_id IN ({_OWN_TURNS})))"
            conditions.append(own_turn if table == "span_text" else own)
        if table == "spans":
            if self.replaced:
                swapped = ", ".join(f'{expression} AS "{name}"' for name, expression in self.replaced.items())
                rows = rows.replace("*", f"* REPLACE ({swapped})", 1)
            conditions += [f"ts_us >= {_SINCE}"] if self.since_us is not None else []
            conditions += [f"ts_us < {_UNTIL}"] if self.until_us is not None else []
        return rows + (f" WHERE {' AND '.join(conditions)}" if conditions else "")

    def close(self) -> None:
        """Close the engine."""
        self.engine.close()

    def __enter__(self) -> TenantView:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _all_of(table: str) -> str:
    return f"SELECT * FROM main.{table}"  # noqa: S608 - a name from code


def open_tenant_view(
    lake: Path, *, tenant: str, tables: Sequence[str] = _TABLES, versions: Mapping[str, int] | None = None
) -> TenantView:
    """Open what is committed in a lake, for one tenant, to look at.

    Nothing is pinned: what is seen here is no evidence.

    Parameters
    ----------
    lake
        Folder of the lake.
    tenant
        Whose rows.
    tables
        Names of tables; those that the lake does not have yet are empty.
    versions
        Versions to read, by table; the newest otherwise.

    Raises
    ------
    UnknownName
        For a table that no lake has.
    """
    store = Lake(lake)
    held = set(store.tables())
    files: dict[str, list[Path]] = {}
    for table in tables:
        if table not in held and table not in TABLES:
            raise UnknownName("table", table, TABLES)
        paths = store.paths(table, (versions or {}).get(table)) if table in held else []
        if paths:
            files[table] = [Path(path) for path in paths]
    engine = DuckDB.from_files(files, threads=_THREADS) if files else DuckDB.from_tables({})
    return TenantView(engine, tenant=tenant, missing=set(tables) - files.keys())
