"""Stop a channel, and let it go on."""

import argparse

from tidings.cli.api_client import operator
from tidings.cli.options import Commands, Parents
from tidings.cli.output import plain, show
from tidings.domain.channels import CHANNELS


def change(options: argparse.Namespace) -> None:
    with operator(options) as server:
        channel = server.post(f"/v1/channels/{options.channel}/{options.word}", {})
    since = f" since {plain(channel['paused_at'])}" if channel["paused"] else ""
    show(options, channel, f"{options.channel} is {'paused' if channel['paused'] else 'worked on'}{since}.")


def add(commands: Commands, parents: Parents) -> None:
    for name, told in (
        ("pause", "stop a channel, for all tenants: what comes in waits; takes the scope admin"),
        ("resume", "let a paused channel go on"),
    ):
        command = commands.add_parser(name, parents=[parents.output, parents.operator], help=told)
        command.add_argument("channel", choices=CHANNELS, help="which")
        command.set_defaults(run=change, word=name)
