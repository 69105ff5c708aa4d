"""The three steps as pure functions: build each request; parse and filter each completion.

Each step has a `*_request` (method, pool -> Request) and a `decide_*` (completion -> journal line). Nothing here keeps
state, waits or does I/O; `pipeline.py` decides when to call what.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec

from selfinstruct.config.schema import Classification, Config, Filters, Instances, Proposal
from selfinstruct.engines.base import Engine, Request, RequestFailed
from selfinstruct.generation import parsing, prompts
from selfinstruct.generation.filters import InstructionFilter, heuristics
from selfinstruct.generation.filters.instances import check_instances
from selfinstruct.generation.parsing import ParsedInstance, ProposedText
from selfinstruct.novelty import NoveltyIndex
from selfinstruct.records import Completion, Instruction, Prompt, Rejection, SeedTask, Style
from selfinstruct.run.lines import (
    ClassificationLine,
    Failure,
    Form,
    InstanceCandidate,
    InstancesLine,
    InstructionCandidate,
    Neighbour,
    ProposalLine,
)

_RAMP = 1536
"""The window that a growing one reaches soon: enough for an engine of 1,024 places (`benchmarks/window.py`)."""
_LEAST_BOUND = 65_536
"""Characters that a completion may always have."""
_KEPT = 1000
"""Characters kept of a completion that is too long."""


@dataclass(frozen=True, slots=True)
class Method:
    """The options that decide what a run asks and what it accepts.

    Attributes:
        seed: of every random choice.
        window: least distance between a proposal and the last one that it sees.
        window_share: the distance late in a run, as a share of the proposals so far; 0: it does not grow.
        proposal: examples and sampling of the step.
        classification: likewise.
        instances: likewise.
        filters: of instructions and instances.
    """

    seed: int
    window: int
    window_share: float
    proposal: Proposal
    classification: Classification
    instances: Instances
    filters: Filters

    @classmethod
    def of(cls, config: Config) -> Method:
        """Return the method of a configuration."""
        return cls(
            config.seed,
            config.window,
            config.window_share,
            config.proposal,
            config.classification,
            config.instances,
            config.filters,
        )

    def last_seen(self, n: int) -> int:
        """Return the number of the last proposal whose outcome proposal n sees; a negative number stands for none.

        The first proposals should see the pool soon. Later it hardly changes between two of them, and a large engine
        wants many at once: the window is half of the proposals so far, up to 1,536, and then `window_share` of them.
        """
        if not self.window_share:
            return n - self.window
        return n - max(self.window, min(n // 2, _RAMP), int(self.window_share * n))


class Steps:
    """The method with its seeds, prompting style, and a way to count tokens.

    Args:
        method: the options.
        seeds: the user's seed tasks.
        borrowed: packaged seed tasks, used as examples of a kind that the user's own seeds do not hold.
        engine: asked for the context length and for token counts only.
        style: how the model is prompted.
        parents: instructions that the parent runs accepted; they count as the beginning of the pool.

    Attributes:
        borrows: kinds of task of which the user's seeds hold none, "classification" or "other".
    """

    def __init__(
        self,
        method: Method,
        seeds: Sequence[SeedTask],
        borrowed: Sequence[SeedTask],
        engine: Engine,
        style: Style,
        parents: Sequence[Instruction] = (),
    ) -> None:
        self.method = method
        self.seeds = list(seeds)
        self.parents = list(parents)
        self.style = style
        self._engine = engine
        self._accepts: InstructionFilter = heuristics(method.filters, [s.instruction for s in seeds])
        shown = [s for s in seeds if prompts.can_be_shown(s)]
        spare = [s for s in borrowed if prompts.can_be_shown(s)]
        yes = [s for s in shown if s.is_classification]
        no = [s for s in shown if not s.is_classification]
        self.borrows = [kind for kind, own in (("classification", yes), ("other", no)) if not own]
        yes = yes or [s for s in spare if s.is_classification]
        no = no or [s for s in spare if not s.is_classification]
        self._classification_examples = _mixed(
            yes, no, method.classification.num_examples, self._draw("classification")
        )
        self._instance_examples = {
            True: self._compact(yes, method.instances.num_examples, "output_first"),
            False: self._compact(no, method.instances.num_examples, "input_first"),
        }

    # ------------------------------------------------------------------------------------------ proposal

    def proposal_request(self, n: int, pool: Sequence[Instruction], visible: int) -> tuple[Request, tuple[str, ...]]:
        """Return proposal n's request and the ids of its examples: a function of the method, n and `pool[:visible]`.

        Args:
            n: the proposal's number, from 0.
            pool: accepted instructions, in order.
            visible: how many of them were accepted by proposals up to `method.last_seen(n)`.

        Raises:
            RequestFailed: not even one example fits the context.
        """
        step = self.method.proposal
        # A run with parent runs draws other examples than they did; else it would ask nearly the same again.
        draw = self._draw(f"proposal/{n}/{len(self.parents)}" if self.parents else f"proposal/{n}")
        known = len(self.parents) + visible
        generated = draw.sample(range(known), min(step.num_generated_examples, known))
        wanted = step.num_seed_examples + step.num_generated_examples
        # Early prompts, with nothing generated yet, are filled up with seeds (paper, section 2.2).
        own = draw.sample(self.seeds, min(wanted - len(generated), len(self.seeds)))
        shown_of_pool = [self.parents[k] if k < len(self.parents) else pool[k - len(self.parents)] for k in generated]
        examples = [(s.id, s.instruction) for s in own] + [(i.id, i.text) for i in shown_of_pool]
        draw.shuffle(examples)

        def encode(k: int) -> Prompt:
            return prompts.encode_proposal([text for _, text in examples[:k]], step.num_new, self.style)

        prompt, shown = self._fit(encode, len(examples), step.max_tokens, f"proposal/{n}", least=1)
        stop = prompts.proposal_stop(shown, step.num_new) if self.style == "completion" else ()
        return Request(f"proposal/{n}", prompt, step, stop, stop_loops=True), tuple(
            name for name, _ in examples[:shown]
        )

    def decide_proposal(
        self,
        n: int,
        examples: tuple[str, ...],
        completion: Completion,
        index: NoveltyIndex,
        pool: Sequence[Instruction],
        room: int,
    ) -> ProposalLine:
        """Return the journal line of proposal n. Adds what it accepts to `index`.

        Args:
            n: the proposal's number.
            examples: ids of the examples its prompt showed.
            completion: the engine's answer.
            index: seeds, instructions of parent runs, and everything accepted by earlier proposals.
            pool: what this run's earlier proposals accepted, in the index's order.
            room: instructions still wanted; candidates past it are recorded as `target_reached`.
        """
        if (too_long := _too_long(completion, self.method.proposal.max_tokens)) is not None:
            return ProposalLine(n, examples, too_long.kept, failed=too_long.failure)
        parsed = parsing.parse_proposal(
            completion.text,
            truncated=completion.finish_reason != "stop",
            num_examples=len(examples),
            num_new=self.method.proposal.num_new,
            style=self.style,
        )
        if not parsed:
            return ProposalLine(n, examples, completion, failed=Failure("no_candidates", ""))
        return ProposalLine(n, examples, completion, self.decide_candidates(n, parsed, index, pool, room))

    def decide_candidates(
        self,
        n: int,
        proposed: Sequence[ProposedText],
        index: NoveltyIndex,
        pool: Sequence[Instruction],
        room: int,
        first: int = 0,
    ) -> tuple[InstructionCandidate, ...]:
        """Decide on the candidates of proposal n. Adds what is accepted to `index`.

        Args:
            n: the proposal's number.
            proposed: candidates in order.
            index: seeds and everything accepted before them.
            pool: the same accepted instructions, in the index's order.
            room: instructions still wanted.
            first: position of the first of them among the proposal's candidates.
        """
        candidates: list[InstructionCandidate] = []
        added: list[str] = []

        def name_of(number: int) -> str:
            """Return the id of a text by its number in the index."""
            if number < len(self.seeds):
                return self.seeds[number].id
            number -= len(self.seeds)
            if number < len(self.parents):
                return self.parents[number].id
            number -= len(self.parents)
            return pool[number].id if number < len(pool) else added[number - len(pool)]

        for position, text in enumerate(proposed, first):
            name = f"p{n:06d}-{position:02d}"
            rejection = self._objection(text, room)
            near = None
            if rejection is None:
                novelty = index.accept(text.text)
                if novelty.nearest is not None:
                    near = Neighbour(name_of(novelty.nearest.index), novelty.nearest.score)
                if not novelty.accepted:
                    nearest = None if near is None else msgspec.to_builtins(near)
                    rejection = Rejection(str(novelty.reason), {"nearest": nearest})
            if rejection is None:
                candidates.append(InstructionCandidate(name, text.text, accepted=True, nearest_seed=near))
                added.append(name)
                room -= 1
            else:
                candidates.append(
                    InstructionCandidate(
                        name, text.text, accepted=False, reason=rejection.reason, evidence=rejection.evidence
                    )
                )
        return tuple(candidates)

    def _objection(self, proposed: ProposedText, room: int) -> Rejection | None:
        """Return why a candidate is rejected whatever the pool holds; None when its novelty decides."""
        if room <= 0:
            return Rejection("target_reached")
        if proposed.truncated:
            return Rejection("truncated")
        return self._accepts(proposed.text)

    # ------------------------------------------------------------------------------------ classification

    def classification_request(self, instruction: Instruction) -> Request:
        """Return the request that asks whether `instruction` is a classification task."""
        step, key = self.method.classification, f"classification/{instruction.id}"
        examples = self._classification_examples
        prompt, _ = self._fit(
            lambda k: prompts.encode_classification(instruction.text, examples[:k], self.style),
            len(examples),
            step.max_tokens,
            key,
        )
        stop = prompts.CLASSIFICATION_STOP if self.style == "completion" else ()
        return Request(key, prompt, step, stop, prompts.CHOICES[self.style])

    def decide_classification(self, instruction: Instruction, completion: Completion) -> ClassificationLine:
        """Return the journal line of a classification; an answer that is neither yes nor no is a failure, not "no"."""
        if (too_long := _too_long(completion, self.method.classification.max_tokens)) is not None:
            return ClassificationLine(instruction.id, too_long.kept, failed=too_long.failure)
        answer = parsing.parse_classification(completion.text)
        if answer is None:
            failure = Failure("unparsable_classification", completion.text[:200])
            return ClassificationLine(instruction.id, completion, failed=failure)
        return ClassificationLine(instruction.id, completion, answer)

    # ----------------------------------------------------------------------------------------- instances

    def instances_request(self, instruction: Instruction, is_classification: bool) -> Request:
        """Return the request for instances: output-first for a classification task, else input-first (paper, 2.2)."""
        step, key = self.method.instances, f"instances/{instruction.id}"
        encode = prompts.encode_output_first if is_classification else prompts.encode_input_first
        examples = self._instance_examples[is_classification]
        prompt, _ = self._fit(
            lambda k: encode(instruction.text, examples[:k], self.style), len(examples), step.max_tokens, key
        )
        stop = prompts.INSTANCE_STOP if self.style == "completion" else ()
        return Request(key, prompt, step, stop)

    def decide_instances(
        self, instruction: Instruction, is_classification: bool, completion: Completion
    ) -> InstancesLine:
        """Return the journal line of an instance request."""
        form: Form = "output_first" if is_classification else "input_first"
        if (too_long := _too_long(completion, self.method.instances.max_tokens)) is not None:
            return InstancesLine(instruction.id, form, too_long.kept, failed=too_long.failure)
        parse = parsing.parse_output_first if is_classification else parsing.parse_input_first
        parsed = parse(completion.text, truncated=completion.finish_reason != "stop")
        if not parsed:
            return InstancesLine(instruction.id, form, completion, failed=Failure("no_instances", ""))
        candidates = decide_instances(parsed, self.method.filters.max_instances)
        return InstancesLine(instruction.id, form, completion, candidates)

    # ------------------------------------------------------------------------------------------- helpers

    def _draw(self, purpose: str) -> random.Random:
        """Return the generator of one purpose's random choices; a string seeds `Random` alike on every machine."""
        return random.Random(f"{self.method.seed}/{purpose}")

    def _compact(self, tasks: Sequence[SeedTask], most: int, purpose: str) -> list[SeedTask]:
        """Draw up to `most` tasks at random from the shorter half, so that many fit into the context."""
        sized = sorted(tasks, key=lambda t: sum(len(i.input) + len(i.output) for i in t.instances))
        half = sized[: max(most, len(sized) // 2)]
        return self._draw(purpose).sample(half, min(most, len(half)))

    def _fit(
        self, encode: Callable[[int], Prompt], most: int, max_tokens: int, key: str, least: int = 0
    ) -> tuple[Prompt, int]:
        limit = self._engine.context_length - max_tokens
        fitted = prompts.fit(encode, most, limit, self._engine.count_tokens)
        if fitted is None or fitted[1] < least:
            raise RequestFailed(
                "prompt_too_long",
                f"{key}: {self._engine.count_tokens(encode(least))} tokens; "
                f"the context of {self._engine.context_length} leaves {limit} beside max_tokens={max_tokens}",
            )
        return fitted


def decide_instances(parsed: Sequence[ParsedInstance], max_instances: int) -> tuple[InstanceCandidate, ...]:
    """Decide on all instances of one instruction.

    Args:
        parsed: the instances, in the order of the answer.
        max_instances: most instances to keep.
    """
    return tuple(
        InstanceCandidate(p.input, p.output, accepted=True)
        if rejection is None
        else InstanceCandidate(p.input, p.output, False, rejection.reason, rejection.evidence)
        for p, rejection in zip(parsed, check_instances(parsed, max_instances=max_instances), strict=True)
    )


@dataclass(frozen=True, slots=True)
class _TooLong:
    """What the journal keeps of a completion that is too long: its beginning, and the failure."""

    kept: Completion
    failure: Failure


def _too_long(completion: Completion, max_tokens: int) -> _TooLong | None:
    """Return what to keep of a completion longer than any that a model writes in `max_tokens`; else None.

    64 characters a token is sixteen times ordinary text. The journal keeps the beginning and a hash.
    """
    most = max(_LEAST_BOUND, 64 * max_tokens)
    length = len(completion.text)
    if length <= most:
        return None
    digest = hashlib.sha256(completion.text.encode("utf-8", "surrogatepass")).hexdigest()
    detail = f"{length:,} characters, of which {_KEPT:,} are kept; at most {most:,} are read; sha256 {digest}"
    return _TooLong(replace(completion, text=completion.text[:_KEPT]), Failure("completion_too_long", detail))


def _mixed(yes: Sequence[SeedTask], no: Sequence[SeedTask], most: int, draw: random.Random) -> list[SeedTask]:
    """Draw about two classification tasks to three others (the paper shows 12 and 19), spread evenly over the list.

    Evenly, because a prompt that must be cut for a small context is cut at the end.
    """
    wanted = min(len(yes), max(1, round(most * 12 / 31)))
    chosen_yes = draw.sample(yes, wanted)
    chosen_no = draw.sample(no, min(len(no), most - wanted))
    shares = [
        (k / max(len(group), 1), which, task)
        for which, group in enumerate((chosen_no, chosen_yes))
        for k, task in enumerate(group)
    ]
    return [task for _, _, task in sorted(shares, key=lambda share: share[:2])]
