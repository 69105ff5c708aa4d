"""Help that fits: options under headings, the common ones first, and every one with `--help-all`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import click

from selfinstruct.config.click_options import ConfigOption
from selfinstruct.config.explained_file import THAT_MATTER
from selfinstruct.config.schema import Config
from selfinstruct.config.section import Sampling

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


def _say(ctx: click.Context, option: click.Parameter, is_set: bool) -> None:
    if not is_set or ctx.resilient_parsing:
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


class _Formatter(click.HelpFormatter):
    """Breaks lines at spaces alone: `--regenerate-` and `outputs` in two lines is no option."""

    _HYPHEN = "\u2011"
    """Not a place to break a line at, for Python's `textwrap`."""

    def write(self, string: str) -> None:
        """Write a text whose hyphens were hidden from the line breaking."""
        super().write(string.replace(self._HYPHEN, "-"))

    def write_text(self, text: str) -> None:
        """Write a paragraph."""
        super().write_text(self._whole(text))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write names and what each means."""
        super().write_dl([(name, self._whole(text)) for name, text in rows], col_max, col_spacing)

    def _whole(self, text: str) -> str:
        """Hide the hyphens of all words but those that may be too long for a line."""

        def hidden(word: re.Match[str]) -> str:
            return word[0] if len(word[0]) > self.width // 2 else word[0].replace("-", self._HYPHEN)

        return re.sub(r"\S+", hidden, text)


class _Context(click.Context):
    formatter_class = _Formatter


class FittedHelp(click.Command):
    """A command whose help fits the terminal, its examples too."""

    context_class = _Context

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help text; an example that is wider than the terminal goes on in the next line."""
        text = self.help
        self.help = fitted(text or "", formatter.width - 2)  # Click indents it by two.
        super().format_help_text(ctx, formatter)
        self.help = text


class HelpfulCommand(FittedHelp):
    """A command whose help groups its options."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the parameters: `-q` and `-v` of every command, and `--help-all`, shown where help leaves some out."""
        *own, of_help = super().get_params(ctx)
        few = len(_of_config(own)) <= _MANY
        about = "Show every option, and exit."
        flag = click.Option(
            ["--help-all"], is_flag=True, is_eager=True, expose_value=False, callback=_show_all, help=about, hidden=few
        )
        return [*own, *HOW_MUCH, flag, of_help]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read `-q` and `-v` where all short options that the command does not know are passed on."""
        if ctx.ignore_unknown_options:
            long = {one.opts[0]: one.opts[1] for one in HOW_MUCH}
            args = [long.get(word, word) for word in args]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, and then those of the configuration by section."""
        parameters = self.get_params(ctx)
        own = [one for one in parameters if isinstance(one, click.Option) and not isinstance(one, ConfigOption)]
        options = _of_config(parameters)
        shortened = len(options) > _MANY and not ctx.meta.get(_HELP_ALL)
        shown = [one for one in options if not shortened or one.dotted in _COMMON]
        sections: dict[str, list[ConfigOption]] = {}
        for one in shown:
            sections.setdefault(one.dotted.rpartition(".")[0], []).append(one)
        blocks = [("Options", _records(own, ctx))]
        for name, members in sections.items():
            members.sort(key=lambda one: _is_of_sampling(one.dotted))
            records = _records(members, ctx)
            blocks.append((_heading(name, records, formatter.width), records))
        for heading, records in blocks:
            with formatter.section(heading):
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
    return [(_KIND.sub(_kind, _SECOND_NAME.sub("", names)), text) for names, text in filter(None, records)]


_SECOND_NAME = re.compile(r"(?<=[\w-]), --[\w-]+\.[\w.-]+")
_KIND = re.compile(r"\b(INTEGER|FLOAT)( RANGE)?\b")
"""Click's words for numbers; the options of the configuration have N and X."""


def _kind(match: re.Match[str]) -> str:
    return {"INTEGER": "N", "FLOAT": "X"}[match[1]]


def _heading(section: str, records: list[tuple[str, str]], width: int) -> str:
    """Return a section's name, what it is about, and how its options are written, as far as that fits."""
    if not section:
        return "Run"
    about = re.split(r"[.:;,(]", (Config.model_fields[section].annotation.__doc__ or "").strip())[0].strip()
    dotted = f"--{section.replace('_', '-')}."
    written = f" ({dotted}NAME)" if any(dotted in names for names, _ in records) else ""
    fitting = (text for text in (f"{section}: {about}{written}", f"{section}: {about}") if len(text) < width)
    return next(fitting, section)


def _is_of_sampling(dotted: str) -> bool:
    """Return whether an option is one that many sections have: it comes after those that only its own has."""
    section, _, leaf = dotted.rpartition(".")
    kind = Config.model_fields[section].annotation if section else None
    return leaf in Sampling.model_fields and isinstance(kind, type) and issubclass(kind, Sampling)


def _show_all(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        ctx.meta[_HELP_ALL] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()
