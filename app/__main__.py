"""``python -m app``: the same as ``ownyourtrakt``, where the package is not installed."""

from app.cli import cli

cli(prog_name="ownyourtrakt")
