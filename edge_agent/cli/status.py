"""`edge-agent status`: the records at a glance."""

from __future__ import annotations

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edge_agent.cli.options import ConfigOption, DatabaseOption, JsonOption
from edge_agent.cli.records_view import database_file, moment, print_json, reading, size
from edge_agent.records.drift import DriftRow
from edge_agent.records.overview import Overview, SurveyState, overview


def status(
    config: ConfigOption = None, database: DatabaseOption = None, as_json: JsonOption = False
) -> None:
    """Show surveys, verdicts, the outbox, deliveries and the latest events."""
    file, settings = database_file(config, database)
    with reading(file) as records:
        found = overview(records)
    cap = settings.records.outbox_max_bytes
    if as_json:
        print_json({"database": str(file), "outbox_max_bytes": cap, **msgspec.to_builtins(found)})
        return
    console = Console(highlight=False)
    for survey in found.surveys:
        _print_survey(console, survey)
    if not found.surveys:
        console.print("no survey yet")
    _print_outbox(console, found, cap)
    for event in found.events:
        console.print(Text(f"{moment(event.at)} {event.kind}: {event.message}"))


def _print_survey(console: Console, survey: SurveyState) -> None:
    count = survey.counters.get
    title = f"survey {survey.name}: {survey.bundle}, policy {survey.policy}"
    if survey.runs > 1:
        title += f" (the last of {survey.runs} bundles or policies)"
    console.print(Text(title, style="bold"))
    begun, finished, failed = (count(f"frames_{s}", 0) for s in ("begun", "finished", "failed"))
    reasons = ", ".join(f"{n} {reason}" for reason, n in survey.by_prefix("failed").items())
    console.print(
        Text(
            f"  frames   {finished} finished, {begun - finished - failed} under way, "
            f"{failed} failed{f' ({reasons})' if reasons else ''}"
        )
    )
    console.print(
        f"  tiles    {count('tiles_seen', 0)} seen, {count('tiles_kept', 0)} kept "
        f"({size(count('payload_bytes_kept', 0))}), {count('tiles_skipped', 0)} skipped"
    )
    console.print(_reasons(survey))
    if survey.drift is not None:
        console.print(Text(f"  ground   {_ground(survey.drift)}"))
    deliveries = ", ".join(f"{n} {state}" for state, n in survey.by_prefix("delivery").items())
    if deliveries:
        console.print(Text(f"  samples  {deliveries}"))
        console.print(
            f"           {size(count('payload_bytes_stored', 0))} stored at base, "
            f"{size(count('payload_bytes_waiting', 0))} still to send"
        )
    refused = ", ".join(f"{n} {outcome}" for outcome, n in survey.by_prefix("refused").items())
    if refused:
        console.print(Text(f"  refused  by base: {refused}; edge-agent outbox list --quarantined"))
    for failure in survey.failures:
        console.print(Text(f"  failed   {failure.name}: {failure.message} ({failure.reason})"))


def _ground(drift: DriftRow) -> str:
    """Whether the survey is foreign, by how many votes, and how sure that is."""
    if drift.inactive:
        return f"not tested for being foreign: {drift.inactive}"
    if drift.share is None:
        return "no vote yet on whether it is foreign"
    seen = f"{drift.share:.0%} of the ground strange by {drift.votes} votes"
    if drift.at_least > 0.0:
        seen += f", at least {drift.at_least:.1%}"
    seen += f"; familiar ground has up to {drift.familiar_share:.1%}"
    if drift.alarm is None:
        return f"not known to be foreign: {seen}"
    since = "" if drift.alarmed_at is None else f" since {moment(drift.alarmed_at)}"
    return f"foreign to the model{since}: {seen}"


def _reasons(survey: SurveyState) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
    table.add_column()
    table.add_column()
    table.add_column(justify="right")
    table.add_column(justify="right")
    seen = max(survey.counters.get("tiles_seen", 0), 1)
    for verdict in ("kept", "skipped"):
        for reason, tiles in survey.by_prefix(verdict).items():
            table.add_row(f"           {verdict}", Text(reason), f"{tiles}", f"{tiles / seen:.1%}")
    return table


def _print_outbox(console: Console, found: Overview, cap: int) -> None:
    outbox = found.outbox
    console.print(Text("outbox", style="bold"))
    console.print(
        f"  {outbox.waiting} wait ({outbox.tried} tried before), {outbox.quarantined} set aside; "
        f"{size(outbox.bytes)} of {size(cap)}"
    )
    if outbox.oldest_queued_at is not None:
        console.print(f"  the oldest since {moment(outbox.oldest_queued_at)}")
    console.print(_ledger(found.device))


def _ledger(device: dict[str, int]) -> str:
    words = f"ledger {size(device.get('ledger_bytes', 0))}"
    forgotten, kept = device.get("ledger_rotated", 0), device.get("ledger_rotated_kept", 0)
    if forgotten:
        words += f"; {forgotten} oldest verdicts forgotten ({kept} of them of samples long settled)"
    return words
