"""Options of the commands that convert models in confined processes."""

import click

memory = click.option(
    "--memory",
    type=click.IntRange(1, 1024),
    default=8,
    metavar="GIB",
    help="How much memory a confined process may use.  [8]",
)
timeout = click.option(
    "--timeout",
    type=click.IntRange(1, 86_400),
    default=300,
    metavar="SECONDS",
    help="How long it may take.  [300]",
)
tolerance = click.option(
    "--tolerance",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="F",
    help="The fraction of rows that may be predicted otherwise.  [0]",
)
