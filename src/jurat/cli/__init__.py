"""The command line: faces, no logic.

Commands are named by import strings and loaded when they are called, so that ``jurat --help`` answers at once.
Results go to stdout, progress and messages to stderr. Exit codes: 0 pass, 1 error, 2 usage, 3 fail, 4 not enough
evidence, 5 invalid.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from jurat import __version__
from jurat.errors import JuratError
from jurat.inert import inert

__all__ = ["build_app", "main"]

_COMMANDS = {
    "demo": (
        "jurat.cli.demo:demo",
        "Carry one decision through a simulated world, then watch live traffic catch an incident.",
    ),
    "review": ("jurat.cli.launch:review", "Hold a release against a launch bar; write verdict, dossier and ledger."),
    "serve": ("jurat.web.serve:serve", "Take OpenTelemetry traces and feedback in, into a lake."),
    "key": ("jurat.web.serve:key", "Make a key for someone who sends or reads."),
    "verify": ("jurat.cli.verify:verify", "Check a review, a ledger or one number against everything it rests on."),
}

_GROUPS = {
    "bar": (
        "Launch bars: check, freeze, waive.",
        {
            "check": ("jurat.cli.launch:check", "Read a bar and say what it demands."),
            "freeze": ("jurat.cli.launch:freeze", "Sign a bar before the data are seen."),
            "waive": ("jurat.cli.launch:waive", "Sign a waiver for one clause, with owner, scope and expiry."),
        },
    ),
    "corpus": (
        "From raw crawl to training text: scan, dedup, decontaminate, gate, audit.",
        {
            "scan": ("jurat.cli.corpus:scan", "Read documents once, into columns that all else reads."),
            "dedup": ("jurat.cli.corpus:dedup", "Exact and near duplicates, with the recall that was reached."),
            "decontaminate": ("jurat.cli.corpus:decontaminate", "Benchmark items in the documents, and clean subsets."),
            "extraction": ("jurat.cli.corpus:extraction", "How far two extractors agree on a sample of pages."),
            "gate": ("jurat.cli.corpus:gate", "Which documents may enter, by a data specification."),
            "audit": ("jurat.cli.corpus_audit:audit", "Copies, variety, mix, shift, bias and poison, on one page."),
            "keywords": ("jurat.cli.corpus_text:keywords", "The words that tell a group of texts from the rest."),
            "repeats": ("jurat.cli.corpus_text:repeats", "Longest repeated passage, and output that loops."),
            "sample": ("jurat.cli.corpus:sample", "Draw documents with exact counts, or a nested share."),
        },
    ),
    "evals": (
        "Model outputs to scores.",
        {
            "table": ("jurat.cli.evals:table_command", "Every model's value and risk rate, with intervals."),
            "silver": ("jurat.cli.evals:silver", "What cheap labels would have said, and how many audits mend them."),
        },
    ),
    "experiments": (
        "A change to its effect: plan, lock, analyse, monitor, report.",
        {
            "plan": ("jurat.cli.experiments:plan", "Would this experiment answer its question? Power, size, time."),
            "size": ("jurat.cli.experiments:size", "Sample size for two shares, with the formula named."),
            "lock": ("jurat.cli.experiments:lock", "Register a spec before its data are seen."),
            "analyse": ("jurat.cli.experiments:analyse", "Checks, effects, claims, verdict and report."),
            "monitor": ("jurat.cli.experiments:monitor", "Every look so far, at no cost in false alarms."),
            "report": ("jurat.cli.experiments:report", "Render the report of a result again."),
            "causal": ("jurat.cli.causal:causal", "An effect without a trial: its assumption and its placebo."),
            "scaling": ("jurat.cli.scaling:scaling", "Fit a scaling law and predict the next model, with intervals."),
        },
    ),
    "launch": (
        "After the launch: what is watched, and what is pulled.",
        {
            "watch": ("jurat.cli.watch:watch", "Carry out a bar's monitoring plan: alarms, people told, breakers."),
        },
    ),
    "telemetry": (
        "Production traffic to metrics.",
        {
            "logs": ("jurat.cli.telemetry:logs", "Error rate by version and tokens by category, of any log."),
            "import": ("jurat.cli.telemetry:import_logs", "Bring logs of any size into a lake, as a mapping says."),
            "cost": ("jurat.cli.cost:cost", "Money and GPU-hours to experiment, run and person, to the cent."),
        },
    ),
    "metrics": (
        "Metric files: list, show, test, run.",
        {
            "list": ("jurat.cli.metrics:list_metrics", "The metrics there are."),
            "show": ("jurat.cli.metrics:show", "One metric: its question, owner and SQL."),
            "test": ("jurat.cli.metrics:test", "Lint metric files and run their examples."),
            "run": ("jurat.cli.metrics:run", "Measure a metric on a lake, with intervals."),
        },
    ),
    "lake": (
        "The lake: import, look, snapshot, compact.",
        {
            "import": ("jurat.cli.lake:import_files", "Bring files into a table as a source mapping says."),
            "show": ("jurat.cli.lake:show", "Tables, versions and sizes."),
            "snapshot": ("jurat.cli.lake:snapshot", "Pin the versions that are there now."),
            "compact": ("jurat.cli.lake:compact", "Merge small files."),
            "vacuum": ("jurat.cli.lake:vacuum", "Remove files that no version in use names."),
        },
    ),
    "ledger": (
        "The ledger: show, verify, export.",
        {
            "show": ("jurat.cli.ledger:show", "The entries of a ledger."),
            "verify": ("jurat.cli.ledger:verify", "Check every entry, the chain and the signatures."),
            "export": ("jurat.cli.ledger:export", "Write in-toto statements in DSSE envelopes."),
            "key": ("jurat.cli.ledger:key", "Your public key, to hand to those who verify."),
        },
    ),
    "simulate": (
        "Worlds with known truth.",
        {
            "assistant": ("jurat.cli.simulate:assistant", "A deployed assistant: users, tiers, two releases, audits."),
            "experiment": ("jurat.cli.simulate:experiment", "An experiment with known effects, and flaws if you like."),
            "traffic": ("jurat.cli.simulate:traffic", "Days of model calls, sent to a server, with planted incidents."),
        },
    ),
}

_EPILOGUE = "Begin with: jurat demo.   Exit codes: 0 pass, 1 error, 2 usage, 3 fail, 4 not enough evidence, 5 invalid."


def build_app() -> App:
    """Build the command tree; nothing but the parser is imported."""
    app = App(
        name="jurat",
        help="Evidence, sworn and checked: from raw crawl to launch.",
        help_epilogue=_EPILOGUE,
        version=__version__,
        result_action="return_value",
    )
    for name, (target, text) in _COMMANDS.items():
        app.command(target, name=name, help=text)
    for name, (text, commands) in _GROUPS.items():
        group = App(name=name, help=text, result_action="return_value")
        for verb, (target, line) in commands.items():
            group.command(target, name=verb, help=line)
        app.command(group)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in tokens
    if debug:
        tokens.remove("--debug")
    try:
        code = build_app()(tokens, exit_on_error=False, print_error=True)
    except CycloptsError:
        sys.exit(2)
    except JuratError as error:
        if debug:
            raise
        print(f"jurat: {inert(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output left early (jurat … | head): not a failure of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if debug:
            raise
        told = f"{error.strerror or error}\n  seen: {error.filename or 'no file named'}\n  next: {_remedy(error)}"
        print(f"jurat: {inert(told)}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("jurat: stopped; nothing half-written was left", file=sys.stderr)
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


def _remedy(error: OSError) -> str:
    """What to do about a refusal of the operating system."""
    return {
        errno.EEXIST: "something of that name is there already: name another",
        errno.ENOTDIR: "a part of that path is a file: name a folder",
        errno.EISDIR: "that is a folder: name a file",
        errno.ENOENT: "check the path",
        errno.EACCES: "ask for the right to it, or name a place of your own",
        errno.EROFS: "name a place that can be written to",
        errno.ENOSPC: "free space there, or name another disk; nothing half-written was left",
    }.get(error.errno or 0, "run it again with --debug for the place in the code")
