"""The commands: ``ownyourtrakt serve`` and the rest; ``python -m app`` is the same."""

import typer

from app.cli import accounts, copies, demo, doctor, keys, poll, schema, serve

cli = typer.Typer(
    help="Brings what you watch on Trakt home: each film and episode becomes a post on your site.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
# In the order in which the help lists them.
cli.command()(serve.serve)
cli.command()(serve.work)
cli.command()(poll.poll)
cli.command("migrate")(schema.migrate_database)
cli.command()(doctor.doctor)
cli.add_typer(accounts.app, name="accounts")
cli.command()(copies.backup)
cli.command()(copies.restore)
cli.command()(copies.move)
cli.command("rotate-keys")(keys.rotate_keys)
cli.command()(demo.demo)
