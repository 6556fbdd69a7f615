"""Search on the screen: words and tables for people, JSON for machines."""

from collections.abc import Mapping, Sequence
from typing import Any

import rich.table
import rich.text

from payment_manager.application.build_search import Built
from payment_manager.application.check_search import Proof, Status
from payment_manager.application.ports import Checkpoint, Document, SetAside
from payment_manager.entrypoints.terminal import as_json, print_table, printable, time_of

NAMES: Mapping[Document, str] = {
    Document.ORDER_EVENT: "order events",
    Document.DISPUTE_EVENT: "dispute events",
    Document.ORDER: "orders",
    Document.DISPUTE: "disputes",
}


# ── Status ────────────────────────────────────────────────────────────────────────────────────────


def print_status(found: Status) -> None:
    print(f"answers: {found.source}" + (f" ({found.trouble})" if found.trouble else ""))
    if found.checkpoint is not None:
        at = found.checkpoint
        print(f"build: {at.build}")
        print(
            f"checkpoint: {time_of(at.as_of.time)}, order events up to"
            f" {at.as_of.order_position:,}, dispute events up to {at.as_of.dispute_position:,}"
        )
        if at.missed_events:
            print(f"missed: {at.missed_events:,} events had left the logs, or could not be read")
    if found.backlog is not None:
        print(f"behind: {found.backlog.events:,} events, {found.age_seconds:.1f} s")
    by = "a process" if found.is_led else "nobody: payment-manager project, or the API"
    print(f"projected by: {by}" + ("; a build is under way" if found.is_being_built else ""))
    if found.rejects:
        print(f"set aside: {found.rejects:,} documents: payment-manager search set-aside")
    table = rich.table.Table()
    table.add_column("", no_wrap=True)
    for heading in ("documents", "in PostgreSQL, about"):
        table.add_column(heading, justify="right", no_wrap=True)
    for kind, name in NAMES.items():
        documents = f"{found.documents[kind]:,}" if found.documents else ""
        table.add_row(name, documents, f"{found.rows[kind]:,}")
    print_table(table)


def status_as_json(found: Status) -> str:
    return as_json(
        {
            "source": found.source,
            "trouble": found.trouble or None,
            "build": found.answering,
            "checkpoint": _checkpoint(found.checkpoint) if found.checkpoint else None,
            "lag": {"events": found.backlog.events, "seconds": round(found.age_seconds, 3)}
            if found.backlog
            else None,
            "documents": _by_name(found.documents) if found.documents else None,
            "rows_about": _by_name(found.rows),
            "set_aside": found.rejects,
            "is_led": found.is_led,
            "is_being_built": found.is_being_built,
        }
    )


# ── Proof ─────────────────────────────────────────────────────────────────────────────────────────


def print_proof(proof: Proof) -> None:
    for line in proof.wrong:
        print(printable(line))
    counts = ", ".join(f"{proof.counts[kind][0]:,} {name}" for kind, name in NAMES.items())
    print(
        f"counted as of {time_of(proof.checkpoint.as_of.time)}: {counts};"
        f" {proof.compared:,} documents compared whole, {proof.set_aside:,} set aside;"
        f" {len(proof.wrong):,} differences"
    )
    if missed := proof.checkpoint.missed_events:
        print(f"{missed:,} events could not be read when search was built: they are not in it")
    if proof.wrong:
        print("payment-manager search reindex builds it anew")


def proof_as_json(proof: Proof) -> str:
    return as_json(
        {
            "checkpoint": _checkpoint(proof.checkpoint),
            "documents": _by_name({kind: found for kind, (found, _) in proof.counts.items()}),
            "rows": _by_name({kind: rows for kind, (_, rows) in proof.counts.items()}),
            "compared": proof.compared,
            "set_aside": proof.set_aside,
            "differences": proof.wrong,
        }
    )


# ── Build ─────────────────────────────────────────────────────────────────────────────────────────


def built_words(built: Built) -> str:
    counts = ", ".join(f"{built.counts[kind]:,} {name}" for kind, name in NAMES.items())
    rate = sum(built.counts.values()) / max(built.seconds, 0.001)
    aside = f"; {built.set_aside:,} set aside" if built.set_aside else ""
    return (
        f"built {built.build} in {built.seconds:.1f} s ({rate:,.0f} documents/s): {counts},"
        f" as many as in PostgreSQL{aside}; it answers now"
    )


def built_as_json(built: Built) -> str:
    return as_json(
        {
            "build": built.build,
            "documents": _by_name(built.counts),
            "set_aside": built.set_aside,
            "seconds": round(built.seconds, 3),
        }
    )


# ── Set aside ─────────────────────────────────────────────────────────────────────────────────────


def print_set_aside(found: Sequence[SetAside]) -> None:
    if not found:
        print("no document is set aside")
        return
    table = rich.table.Table()
    for heading in ("kind", "id", "why", "since"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("kind", "since"))
    for each in found:
        cells = (each.document, each.document_id, each.error, time_of(each.at))
        table.add_row(*(rich.text.Text(printable(cell)) for cell in cells))
    print_table(table)
    print(f"{len(found):,} documents are set aside")


def set_aside_as_json(found: Sequence[SetAside]) -> str:
    return as_json(
        [
            {
                "document": each.document,
                "document_id": each.document_id,
                "error": each.error,
                "at": time_of(each.at),
            }
            for each in found
        ]
    )


def _checkpoint(at: Checkpoint) -> dict[str, Any]:
    return {
        "build": at.build,
        "time": time_of(at.as_of.time),
        "position": {"orders": at.as_of.order_position, "disputes": at.as_of.dispute_position},
        "missed_events": at.missed_events,
    }


def _by_name(counts: Mapping[Document, int]) -> dict[str, int]:
    return {f"{kind}s": counts[kind] for kind in Document}
