"""The command line: parse, call, render.

The library does the work; heavy imports stay inside functions.

    help.py              options under headings, the common ones first
    edge.py              the group of all commands
    shared.py            arguments and helpers of several commands
    chain_commands.py    demo · init · run
    round_commands.py    regenerate · iterate
    stage_commands.py    generate · export · tune · evaluate · report
    status_command.py    status
    look_commands.py     show · preview
    rate_command.py      rate · tag
    review_command.py    review
    push_command.py      push
    chat_command.py      chat
    journal_commands.py  explain · refilter · repair
    doctor_command.py    doctor
    dataset_commands.py  convert
    file_commands.py     seeds · dedup · score
"""

from __future__ import annotations

from selfinstruct.cli import (  # each file adds its commands to the group
    chain_commands,
    chat_command,
    dataset_commands,
    doctor_command,
    file_commands,
    journal_commands,
    look_commands,
    push_command,
    rate_command,
    review_command,
    round_commands,
    stage_commands,
    status_command,
)
from selfinstruct.cli.edge import cli

__all__ = [
    "chain_commands",
    "chat_command",
    "cli",
    "dataset_commands",
    "doctor_command",
    "file_commands",
    "journal_commands",
    "look_commands",
    "main",
    "push_command",
    "rate_command",
    "review_command",
    "round_commands",
    "stage_commands",
    "status_command",
]


def main() -> None:
    """Run the command that the command line names."""
    cli()
