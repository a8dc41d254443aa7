"""Pause and resume a channel."""

import argparse

from tidings.cli.api_client import operator
from tidings.cli.options import Commands, Parents
from tidings.cli.output import plain, show
from tidings.domain.channels import CHANNELS


def change(options: argparse.Namespace) -> None:
    with operator(options) as server:
        channel = server.post(f"/v1/channels/{options.channel}/{options.action}", {})
    since = f" since {plain(channel['paused_at'])}" if channel["paused"] else ""
    show(options, channel, f"{options.channel} is {'paused' if channel['paused'] else 'running'}{since}.")


def add(commands: Commands, parents: Parents) -> None:
    for name, help_text in (
        ("pause", "pause a channel for all tenants: new notifications wait; needs the scope admin"),
        ("resume", "resume a paused channel; needs the scope admin"),
    ):
        command = commands.add_parser(name, parents=[parents.output, parents.operator], help=help_text)
        command.add_argument("channel", choices=CHANNELS, help="the channel")
        command.set_defaults(run=change, action=name)
