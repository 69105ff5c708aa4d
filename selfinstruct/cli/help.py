"""Help that fits: options under headings, the common ones first, and every one with `--help-all`."""

from __future__ import annotations

import re
from typing import Any

import click

from selfinstruct.config.click_options import ConfigOption
from selfinstruct.config.explained_file import THAT_MATTER
from selfinstruct.config.schema import Config

_MANY = 30
"""A command with more options of the configuration shows only the common ones."""
_COMMON = {*THAT_MATTER, "endpoint"} | {
    f"evaluate.{name}" for name in "judge_endpoint consistency plain_text ifeval lm_eval confidence max_tokens".split()
}
_HELP_ALL = "selfinstruct.help_all"
"""The key in a context's `meta`: whether help names every option."""


class _HowMuch(click.Option):
    """`-q` or `-v`. Where options are passed on, `-cc.level=3` is vLLM's, and Click would find a `-v` in it."""

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Let the parser know only the long name there; `HelpfulCommand.parse_args` knows the short one."""
        before = self.opts
        self.opts = before[1:] if ctx.ignore_unknown_options else before
        super().add_to_parser(parser, ctx)
        self.opts = before


def _say(ctx: click.Context, option: click.Parameter, given: bool) -> None:
    if not given or ctx.resilient_parsing:
        return
    from selfinstruct.console import how_much, say

    before = how_much()
    ctx.call_on_close(lambda: say(before))
    say(str(option.name))


HOW_MUCH = [
    _HowMuch(["-q", "--quiet"], is_flag=True, expose_value=False, callback=_say, help="Print only errors and results."),
    _HowMuch(
        ["-v", "--verbose"], is_flag=True, expose_value=False, callback=_say, help="Print what libraries say, too."
    ),
]
"""Options of every command, and of the group of all."""


class HelpfulCommand(click.Command):
    """A command whose help groups its options."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the parameters: `-q` and `-v` of every command, `--help-all` of one with many options."""
        *own, of_help = super().get_params(ctx)
        parameters = [*own, *HOW_MUCH, of_help]
        if len(_of_config(parameters)) <= _MANY:
            return parameters
        about = "Show every option, and exit."
        flag = click.Option(
            ["--help-all"], is_flag=True, is_eager=True, expose_value=False, callback=_show_all, help=about
        )
        return [*parameters[:-1], flag, parameters[-1]]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read `-q` and `-v` where all short options that the command does not know are passed on."""
        if ctx.ignore_unknown_options:
            long = {one.opts[0]: one.opts[1] for one in HOW_MUCH}
            args = [long.get(word, word) for word in args]
        return super().parse_args(ctx, args)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help text; an example that is wider than the terminal goes on in the next line."""
        text = self.help
        self.help = fitted(text or "", formatter.width - 2)  # Click indents it by two.
        super().format_help_text(ctx, formatter)
        self.help = text

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, and then those of the configuration by section."""
        parameters = self.get_params(ctx)
        own = [one for one in parameters if isinstance(one, click.Option) and not isinstance(one, ConfigOption)]
        options = _of_config(parameters)
        shortened = len(options) > _MANY and not ctx.meta.get(_HELP_ALL)
        shown = [one for one in options if not shortened or one.dotted in _COMMON]
        sections: dict[str, list[tuple[str, str]]] = {"Options": _records(own, ctx)}
        for one in shown:
            sections.setdefault(_heading(one.dotted), []).extend(_records([one], ctx))
        for heading, records in sections.items():
            if records:
                with formatter.section(heading if len(heading) < formatter.width else heading.partition(":")[0]):
                    formatter.write_dl(records, col_max=min(30, formatter.width // 3))
        if more := len(options) - len(shown):
            formatter.write_paragraph()
            formatter.write_text(f"{more} more options: `{ctx.command_path} --help-all` shows every one.")


def fitted(text: str, width: int) -> str:
    """Break the commands of a text that are wider than this, as a shell reads them; quoted words stay whole.

    >>> print(fitted("    selfinstruct show runs/first --random 20", 36))
        selfinstruct show runs/first \\
            --random 20
    """
    return "\n".join(
        part for line in text.splitlines() for part in (_broken(line, width) if len(line) > width else [line])
    )


def _broken(line: str, width: int) -> list[str]:
    words = re.findall(r'"[^"]*"|\S+', line)
    if words[:1] != ["selfinstruct"]:
        return [line]
    indent = line[: len(line) - len(line.lstrip())]
    parts = [indent + words[0]]
    for word in words[1:]:
        if len(parts[-1]) + len(word) + 3 > width and parts[-1].strip() != words[0]:
            parts[-1] += " \\"
            parts.append(f"{indent}    {word}")
        else:
            parts[-1] += f" {word}"
    return parts


def _of_config(parameters: list[click.Parameter]) -> list[ConfigOption]:
    return [one for one in parameters if isinstance(one, ConfigOption)]


def _records(parameters: Any, ctx: click.Context) -> list[tuple[str, str]]:
    """Return names and help of options; of several long names, the first one, which is the short one."""
    records = (one.get_help_record(ctx) for one in parameters)
    return [(_SECOND_NAME.sub("", names), text) for names, text in filter(None, records)]


_SECOND_NAME = re.compile(r"(?<=[\w-]), --[\w-]+\.[\w.-]+")


def _heading(dotted: str) -> str:
    section, dot, _ = dotted.partition(".")
    if not dot:
        return "Run"
    about = Config.model_fields[section].annotation.__doc__ or ""
    return f"{section}: {re.split(r'[.:;,(]', about.strip())[0].strip()} (--{section}.NAME)"


def _show_all(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        ctx.meta[_HELP_ALL] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()
