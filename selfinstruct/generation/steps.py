"""The three steps as pure functions: what to ask, and what the answer comes to.

Each step has a `*_request` (configuration, pool -> Request) and a `decide_*` (completion -> journal line). Nothing here
keeps state, waits or does I/O; `pipeline.py` decides when to call what.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from selfinstruct.config.schema import Config
from selfinstruct.engines.base import Engine, Request, RequestFailed
from selfinstruct.generation import prompts
from selfinstruct.generation.filters import InstructionFilter, heuristics
from selfinstruct.generation.filters.instances import check_instances
from selfinstruct.generation.prompts import ParsedInstance, ProposedText
from selfinstruct.novelty import NoveltyIndex
from selfinstruct.records import Completion, Instruction, Prompt, SeedTask, Style
from selfinstruct.run.journal import Line

_LEAST_BOUND = 65_536  # Characters.
_KEPT = 1000


class Steps:
    """The method for one run: seeds, configuration, prompting style, and a way to count tokens.

    Args:
        config: the run's configuration.
        seeds: the user's seed tasks.
        borrowed: packaged seed tasks, used as examples of a kind that the user's own seeds do not hold.
        engine: asked for the context length and for token counts only.
        style: how the model is prompted.
        earlier: what earlier runs accepted; it counts as if it stood at the beginning of the pool.
    """

    def __init__(
        self,
        config: Config,
        seeds: Sequence[SeedTask],
        borrowed: Sequence[SeedTask],
        engine: Engine,
        style: Style,
        earlier: Sequence[Instruction] = (),
    ) -> None:
        self.config = config
        self.seeds = list(seeds)
        self.earlier = list(earlier)
        self.style = style
        self._engine = engine
        self._accepts: InstructionFilter = heuristics(config.filters, [s.instruction for s in seeds])
        shown = [s for s in seeds if prompts.can_be_shown(s)]
        spare = [s for s in borrowed if prompts.can_be_shown(s)]
        yes = [s for s in shown if s.is_classification]
        no = [s for s in shown if not s.is_classification]
        self.borrows = [kind for kind, own in (("classification", yes), ("other", no)) if not own]
        yes = yes or [s for s in spare if s.is_classification]
        no = no or [s for s in spare if not s.is_classification]
        self._classification_examples = _mixed(
            yes, no, config.classification.num_examples, self._draw("classification")
        )
        self._instance_examples = {
            True: self._compact(yes, config.instances.num_examples, "output_first"),
            False: self._compact(no, config.instances.num_examples, "input_first"),
        }

    # ------------------------------------------------------------------------------------------ proposal

    def proposal_request(self, n: int, pool: Sequence[Instruction], visible: int) -> tuple[Request, list[str]]:
        """Proposal n's request and the ids of its examples: a function of the configuration, n and `pool[:visible]`.

        Args:
            n: the proposal's number, from 0.
            pool: accepted instructions, in order.
            visible: how many of them were accepted by proposals <= n - window.

        Raises:
            RequestFailed: not even one example fits the context.
        """
        step = self.config.proposal
        # A run that builds on others draws other examples than they did: it would ask much the same again.
        draw = self._draw(f"proposal/{n}/{len(self.earlier)}" if self.earlier else f"proposal/{n}")
        written = len(self.earlier) + visible
        generated = draw.sample(range(written), min(step.num_generated_examples, written))
        wanted = step.num_seed_examples + step.num_generated_examples
        # Early prompts, with nothing generated yet, are filled up with seeds (paper, section 2.2).
        own = draw.sample(self.seeds, min(wanted - len(generated), len(self.seeds)))
        shown_of_pool = [self.earlier[k] if k < len(self.earlier) else pool[k - len(self.earlier)] for k in generated]
        examples = [(s.id, s.instruction) for s in own] + [(i.id, i.text) for i in shown_of_pool]
        draw.shuffle(examples)

        def encode(k: int) -> Prompt:
            return prompts.encode_proposal([text for _, text in examples[:k]], step.num_new, self.style)

        prompt, shown = self._fit(encode, len(examples), step.max_tokens, f"proposal/{n}", least=1)
        stop = prompts.proposal_stop(shown, step.num_new) if self.style == "completion" else ()
        return Request(f"proposal/{n}", prompt, step, stop), [name for name, _ in examples[:shown]]

    def decide_proposal(
        self,
        n: int,
        examples: list[str],
        completion: Completion,
        index: NoveltyIndex,
        pool: Sequence[Instruction],
        room: int,
    ) -> Line:
        """The journal line of proposal n. Adds what it accepts to `index`.

        Args:
            n: the proposal's number.
            examples: ids of the examples its prompt showed.
            completion: the engine's answer.
            index: seeds, what earlier runs accepted, and everything accepted by earlier proposals.
            pool: what this run's earlier proposals accepted, in the index's order.
            room: instructions still wanted; candidates past it are recorded as `target_reached`.
        """
        line: Line = {"kind": "proposal", "n": n, "examples": examples}
        if (failed := _too_long(completion, self.config.proposal.max_tokens)) is not None:
            return line | failed
        line["completion"] = asdict(completion)
        parsed = prompts.parse_proposal(
            completion.text,
            truncated=completion.finish_reason != "stop",
            num_examples=len(examples),
            num_new=self.config.proposal.num_new,
            style=self.style,
        )
        if not parsed:
            return {**line, "failed": {"reason": "no_candidates", "detail": ""}}
        line["candidates"] = self.decide_candidates(n, parsed, index, pool, room)
        return line

    def decide_candidates(
        self,
        n: int,
        proposed: Sequence[ProposedText],
        index: NoveltyIndex,
        pool: Sequence[Instruction],
        room: int,
        first: int = 0,
    ) -> list[dict[str, Any]]:
        """The candidates of proposal n as its journal line holds them. Adds what is accepted to `index`.

        Args:
            n: the proposal's number.
            proposed: candidates in order.
            index: seeds and everything accepted before them.
            pool: the same accepted instructions, in the index's order.
            room: instructions still wanted.
            first: position of the first of them among the proposal's candidates.
        """
        candidates: list[dict[str, Any]] = []
        added: list[str] = []

        def name_of(place: int) -> str:
            if place < len(self.seeds):
                return self.seeds[place].id
            place -= len(self.seeds)
            if place < len(self.earlier):
                return self.earlier[place].id
            place -= len(self.earlier)
            return pool[place].id if place < len(pool) else added[place - len(pool)]

        for position, found in enumerate(proposed, first):
            candidate: dict[str, Any] = {"id": f"p{n:06d}-{position:02d}", "instruction": found.text}
            verdict: dict[str, Any] = {"accepted": False}
            if room <= 0:
                verdict.update(reason="target_reached", evidence={})
            elif found.truncated:
                verdict.update(reason="truncated", evidence={})
            elif (rejection := self._accepts(found.text)) is not None:
                verdict.update(reason=rejection.reason, evidence=rejection.evidence)
            else:
                novelty = index.accept(found.text)
                near = novelty.nearest
                evidence = None if near is None else {"id": name_of(near.index), "score": near.score}
                if novelty.accepted:
                    verdict = {"accepted": True, "nearest_seed": evidence}
                    added.append(candidate["id"])
                    room -= 1
                else:
                    verdict.update(reason=novelty.reason, evidence={"nearest": evidence})
            candidates.append(candidate | verdict)
        return candidates

    # ------------------------------------------------------------------------------------ classification

    def classification_request(self, instruction: Instruction) -> Request:
        """Ask whether `instruction` is a classification task."""
        step, key = self.config.classification, f"classification/{instruction.id}"
        examples = self._classification_examples
        prompt, _ = self._fit(
            lambda k: prompts.encode_classification(instruction.text, examples[:k], self.style),
            len(examples),
            step.max_tokens,
            key,
        )
        stop = prompts.CLASSIFICATION_STOP if self.style == "completion" else ()
        return Request(key, prompt, step, stop, prompts.CHOICES[self.style])

    def decide_classification(self, instruction: Instruction, completion: Completion) -> Line:
        """The journal line of a classification; an answer that is neither yes nor no is a failure, not a "no"."""
        line: Line = {"kind": "classification", "id": instruction.id}
        if (failed := _too_long(completion, self.config.classification.max_tokens)) is not None:
            return line | failed
        line["completion"] = asdict(completion)
        answer = prompts.parse_classification(completion.text)
        if answer is None:
            return {**line, "failed": {"reason": "unparsable_classification", "detail": completion.text[:200]}}
        return {**line, "is_classification": answer}

    # ----------------------------------------------------------------------------------------- instances

    def instances_request(self, instruction: Instruction, is_classification: bool) -> Request:
        """Ask for instances: output-first for a classification task, else input-first (paper, section 2.2)."""
        step, key = self.config.instances, f"instances/{instruction.id}"
        encode = prompts.encode_output_first if is_classification else prompts.encode_input_first
        examples = self._instance_examples[is_classification]
        prompt, _ = self._fit(
            lambda k: encode(instruction.text, examples[:k], self.style), len(examples), step.max_tokens, key
        )
        return Request(key, prompt, step, prompts.INSTANCE_STOP if self.style == "completion" else ())

    def decide_instances(self, instruction: Instruction, is_classification: bool, completion: Completion) -> Line:
        """The journal line of an instance request."""
        form = "output_first" if is_classification else "input_first"
        line: Line = {"kind": "instances", "id": instruction.id, "form": form}
        if (failed := _too_long(completion, self.config.instances.max_tokens)) is not None:
            return line | failed
        line["completion"] = asdict(completion)
        parse = prompts.parse_output_first if is_classification else prompts.parse_input_first
        parsed = parse(completion.text, truncated=completion.finish_reason != "stop")
        if not parsed:
            return {**line, "failed": {"reason": "no_instances", "detail": ""}}
        line["candidates"] = self.decide_instance_candidates(parsed)
        return line

    def decide_instance_candidates(self, parsed: Sequence[ParsedInstance]) -> list[dict[str, Any]]:
        """All instances of one instruction as its journal line holds them."""
        decided = check_instances(parsed, max_instances=self.config.filters.max_instances)
        return [
            {"input": p.input, "output": p.output, "accepted": True}
            if found is None
            else {
                "input": p.input,
                "output": p.output,
                "accepted": False,
                "reason": found.reason,
                "evidence": found.evidence,
            }
            for p, found in zip(parsed, decided, strict=True)
        ]

    # ------------------------------------------------------------------------------------------- helpers

    def _draw(self, purpose: str) -> random.Random:
        """The random choices of one purpose, from the run's seed: strings seed `Random` alike on every machine."""
        return random.Random(f"{self.config.seed}/{purpose}")

    def _compact(self, tasks: Sequence[SeedTask], most: int, purpose: str) -> list[SeedTask]:
        """Up to `most` tasks drawn at random among those that take little of the context, so that many can be shown."""
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


def _too_long(completion: Completion, max_tokens: int) -> Line | None:
    """What stands in the journal for a completion longer than any that a model writes in `max_tokens`; else None.

    64 characters a token is sixteen times ordinary text. The journal keeps the beginning and a hash.
    """
    most = max(_LEAST_BOUND, 64 * max_tokens)
    length = len(completion.text)
    if length <= most:
        return None
    digest = hashlib.sha256(completion.text.encode("utf-8", "surrogatepass")).hexdigest()
    detail = f"{length:,} characters, of which {_KEPT:,} are kept; at most {most:,} are read; sha256 {digest}"
    return {
        "completion": asdict(completion) | {"text": completion.text[:_KEPT]},
        "failed": {"reason": "completion_too_long", "detail": detail},
    }


def _mixed(yes: Sequence[SeedTask], no: Sequence[SeedTask], most: int, draw: random.Random) -> list[SeedTask]:
    """About two classification tasks to three others (the paper shows 12 and 19), spread evenly over the list.

    Evenly, because a prompt that must be cut for a small context is cut at the end.
    """
    wanted = min(len(yes), max(1, round(most * 12 / 31)))
    chosen_yes = draw.sample(yes, wanted)
    chosen_no = draw.sample(no, min(len(no), most - wanted))
    places = [
        (k / max(len(group), 1), which, task)
        for which, group in enumerate((chosen_no, chosen_yes))
        for k, task in enumerate(group)
    ]
    return [task for _, _, task in sorted(places, key=lambda place: place[:2])]
