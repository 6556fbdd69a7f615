"""`payment-manager search status | verify | reindex | set-aside`.

How to think about it: search can be thrown away and built again, so nothing here can lose anything,
and each of them may run beside the services. Exit codes: 0 done and well, 1 something is not as it
should be, 2 wrong usage or settings, or somebody needed is away.
"""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, TypeAlias

import typer

from payment_manager.entrypoints.search.tools import Tools

SAMPLE = 1000
"""A second's work, and one damaged document in a thousand would probably be among them."""

AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]


Run: TypeAlias = Callable[[Callable[[Tools], Coroutine[Any, Any, None]]], None]


def search_commands(run: Run) -> typer.Typer:
    """`run` gives a command what it works with, and tells of what goes wrong."""
    app = typer.Typer(no_args_is_help=True, help="Events, orders and disputes in OpenSearch.")

    @app.command()
    def status(as_json: AsJson = False) -> None:
        """Who answers, how far it has come, and what is in it; exits with 1 where not OpenSearch
        answers.
        """
        from payment_manager.entrypoints.search import work

        run(lambda tools: work.show_status(tools, as_json))

    @app.command()
    def verify(
        sample: Annotated[
            int, typer.Option(min=0, max=100_000, help="Of each kind so many, compared whole.")
        ] = SAMPLE,
        as_json: AsJson = False,
    ) -> None:
        """Compare search with PostgreSQL: all by count, a sample whole; exits with 1 where they
        differ. Whoever projects waits meanwhile.
        """
        from payment_manager.entrypoints.search import work

        run(lambda tools: work.verify_search(tools, sample, as_json))

    @app.command()
    def reindex(as_json: AsJson = False) -> None:
        """Build search anew beside the one that answers, prove it, and let it answer."""
        from payment_manager.entrypoints.search import work

        run(lambda tools: work.reindex(tools, as_json))

    @app.command("set-aside")
    def set_aside(as_json: AsJson = False) -> None:
        """Documents that OpenSearch would not take, and why."""
        from payment_manager.entrypoints.search import work

        run(lambda tools: work.list_set_aside(tools, as_json))

    return app
