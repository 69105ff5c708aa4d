"""Help that fits: options under headings, the common ones first, and every one with `--help-all`."""

from __future__ import annotations

import re
from typing import Any

import click

from selfinstruct.config.click_options import ConfigOption
from selfinstruct.config.schema import Config
from selfinstruct.config.template import THAT_MATTER

_MANY = 30
"""A command with more options of the configuration shows only the common ones."""
_COMMON = {*THAT_MATTER, "endpoint"} | {
    f"evaluate.{name}" for name in "judge_endpoint consistency plain_text ifeval lm_eval confidence max_tokens".split()
}
_HELP_ALL = "selfinstruct.help_all"
"""The key in a context's `meta`: whether help names every option."""


class HelpfulCommand(click.Command):
    """A command whose help groups its options."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the parameters; those of a command with many options have `--help-all`."""
        parameters = super().get_params(ctx)
        if len(_of_config(parameters)) <= _MANY:
            return parameters
        about = "Show every option, and exit."
        flag = click.Option(
            ["--help-all"], is_flag=True, is_eager=True, expose_value=False, callback=_show_all, help=about
        )
        return [*parameters[:-1], flag, parameters[-1]]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, and then those of the configuration by section."""
        parameters = self.get_params(ctx)
        own = [one for one in parameters if not isinstance(one, ConfigOption)]
        options = _of_config(parameters)
        shortened = len(options) > _MANY and not ctx.meta.get(_HELP_ALL)
        shown = [one for one in options if not shortened or one.dotted in _COMMON]
        sections: dict[str, list[tuple[str, str]]] = {"Options": _records(own, ctx)}
        for one in shown:
            sections.setdefault(_heading(one.dotted), []).extend(_records([one], ctx))
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)
        if more := len(options) - len(shown):
            formatter.write_paragraph()
            formatter.write_text(f"{more} more options: `{ctx.command_path} --help-all` shows every one.")


def _of_config(parameters: list[click.Parameter]) -> list[ConfigOption]:
    return [one for one in parameters if isinstance(one, ConfigOption)]


def _records(parameters: Any, ctx: click.Context) -> list[tuple[str, str]]:
    return [record for one in parameters if (record := one.get_help_record(ctx)) is not None]


def _heading(dotted: str) -> str:
    section, dot, _ = dotted.partition(".")
    if not dot:
        return "Run"
    about = Config.model_fields[section].annotation.__doc__ or ""
    return f"{section}: {re.split(r'[.:,(]', about.strip())[0].strip()}"


def _show_all(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        ctx.meta[_HELP_ALL] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()
