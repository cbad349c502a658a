"""The commands under one name.

Knows: which commands there are. Refuses to know: what they do; each has a module of its own.
"""

from __future__ import annotations

import click

from rudp._version import __version__
from rudp.cli.bench import bench
from rudp.cli.demo import demo
from rudp.cli.echo import echo, echo_server
from rudp.cli.receive import receive
from rudp.cli.send import send

__all__ = ["cli"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rudp")
def cli() -> None:
    """Reliable UDP: see it work, try it against TCP and UDP, and move files with it."""


for command in (demo, echo_server, echo, send, receive, bench):
    cli.add_command(command)
