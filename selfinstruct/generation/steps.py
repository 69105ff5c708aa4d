"""The steps as pure functions: build each request; parse and filter each completion.

Each step has a `*_request` (method, pool -> Request) and a `decide_*` (completion -> journal line). Nothing here keeps
state, waits or does I/O; `pipeline.py` decides when to call what.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

from selfinstruct import constraints
from selfinstruct.config.seed_quotas import of_categories
from selfinstruct.engines.base import Engine, Request, RequestFailed
from selfinstruct.formats.evaluation_tasks import EvaluationText
from selfinstruct.generation import instance_parsing, is_task, prompts
from selfinstruct.generation.answering import Answering
from selfinstruct.generation.candidates import CandidateDecisions
from selfinstruct.generation.completion_bounds import beginning_of_too_long
from selfinstruct.generation.examples import ExampleChoice, Examples, compact, fit, mixed
from selfinstruct.generation.filters import InstructionFilter, heuristics
from selfinstruct.generation.filters.row import Row
from selfinstruct.generation.filters.rows import RowCheck, row_check
from selfinstruct.generation.frame import Frame
from selfinstruct.generation.instance_decisions import decide_inputs, decide_instances
from selfinstruct.generation.instance_parsing import ParsedInstance
from selfinstruct.generation.languages import language_remark
from selfinstruct.generation.method import Method
from selfinstruct.generation.parsing import parse_classification
from selfinstruct.generation.proposal_parsing import ProposedText
from selfinstruct.generation.proposers import WITHOUT_INPUT, Pool, Seen, proposers, seed_draws
from selfinstruct.generation.proposers.earnings import Earned
from selfinstruct.generation.proposers.topics import Topic
from selfinstruct.novelty import NoveltyIndex
from selfinstruct.records import Completion, Constraint, Instruction, Prompt, SeedTask, Style, with_constraints
from selfinstruct.run.header_values import Calibration
from selfinstruct.run.lines import (
    AnswerLine,
    ClassificationLine,
    Failure,
    Form,
    InstanceCandidate,
    InstancesLine,
    InstructionCandidate,
    ProposalLine,
)

T = TypeVar("T")

_ENCODERS: dict[Form, Callable[[str, Sequence[SeedTask], Style, Frame], Prompt]] = {
    "input_first": prompts.encode_input_first,
    "output_first": prompts.encode_output_first,
    "input_only": prompts.encode_input_only,
}


class Steps:
    """The method with its seeds, prompting style, and a way to count tokens.

    Args:
        method: the options.
        seeds: the user's seed tasks.
        borrowed: tasks to show as examples of a kind of which the user's own seeds hold none that can be shown.
        engine: asked for the context length and for token counts only.
        style: how the model is prompted.
        parents: instructions that the parent runs accepted; they count as the beginning of the pool.
        evaluation: evaluation tasks, which no accepted instruction is near (`filters.near_evaluation`).

    Attributes:
        calibration: of the yes-or-no questions, by name; empty before it is known, and where the engine cannot tell.
        known_texts: tasks and others, to ask whether a text is a task.
        classification_examples: the seeds that the prompt of a classification shows.
        remarks: what the user should know of these seeds in these prompts.
        answering: how inputs are answered.
        separate: whether inputs are answered in a step of their own.
    """

    def __init__(
        self,
        method: Method,
        seeds: Sequence[SeedTask],
        borrowed: Sequence[SeedTask],
        engine: Engine,
        style: Style,
        parents: Sequence[Instruction] = (),
        evaluation: Sequence[EvaluationText] = (),
    ) -> None:
        self.method = method
        self.seeds = seed_draws.with_quotas(seeds, of_categories(method.proposal.seed_quota))
        self.parents = list(parents)
        self.style = style
        self.engine = engine
        self._proposers = proposers(method.proposers, style, method.frame)
        instructions = [seed.instruction for seed in seeds]
        self._accepts: InstructionFilter = heuristics(method.filters, instructions, method.frame, evaluation)
        self._check_row: RowCheck = row_check(method.filters, method.frame)
        yes = ExampleChoice.of(seeds, borrowed, True, method.frame, method.instances.num_examples)
        no = ExampleChoice.of(seeds, borrowed, False, method.frame, method.instances.num_examples)
        self.remarks = [*language_remark(seeds, method.frame), *yes.remarks, *no.remarks]
        self.calibration: Mapping[str, Calibration] = {}
        self.known_texts = is_task.KnownTexts.of(seeds, self._draw("is_task"))
        self.classification_examples = mixed(
            yes.to_classify, no.to_classify, method.classification.num_examples, self._draw("classification")
        )
        self._instance_examples = {
            True: self._drawn(yes.to_show, "output_first"),
            False: self._drawn(no.to_show, "input_first"),
        }
        self.separate = method.answers_separately(style)
        if method.constraints.share and not self.separate:
            self.remarks.append("no row gets constraints: outputs are written inline; see --answering separate")
        self.answering = Answering(method.answer, self._instance_examples[False], engine, style, self._check_row)

    # ------------------------------------------------------------------------------------------ proposal

    def undecided(self, n: int, earned: Mapping[str, Earned] | None = None) -> ProposalLine:
        """Return the line of proposal n before it is asked: its number, its proposer and its topic.

        Args:
            n: the proposal's number.
            earned: what the proposals that it sees earned, by proposer; None: the weights decide.
        """
        proposer = self.method.proposers.drawn(self._draw(f"proposer/{n}"), earned)
        topics = self.method.proposers.topics
        topic = Topic("") if topics is None else topics.of(n, self.method.seed)
        whole = self.separate and proposer in WITHOUT_INPUT
        return ProposalLine(n, (), proposer=proposer, topic=topic.subject, user=topic.user, without_input=whole)

    def proposal_request(
        self, n: int, pool: Sequence[Instruction], visible: int, line: ProposalLine | None = None
    ) -> tuple[Request, ProposalLine]:
        """Return proposal n's request, and its line as far as it is known before the answer.

        Both are a function of the method, n and `pool[:visible]`, and of `line` if it is given.

        Args:
            n: the proposal's number, from 0.
            pool: accepted instructions, in order.
            visible: how many of them were accepted by proposals up to `method.last_seen(n)`.
            line: what `undecided` says of the proposal.

        Raises:
            RequestFailed: not even one example fits the context.
        """
        return self._proposal_request(line or self.undecided(n), pool, visible)

    def first_requests(self) -> dict[str, Request]:
        """Return the request that proposal 0 would be by each proposer in use, by the proposer's name.

        Raises:
            RequestFailed: not even one example fits the context.
        """
        names = self.method.proposers.used
        first = self.undecided(0)
        lines = [msgspec.structs.replace(first, proposer=name) for name in names]
        return {line.proposer: self._proposal_request(line, [], 0)[0] for line in lines}

    def _proposal_request(
        self, line: ProposalLine, pool: Sequence[Instruction], visible: int
    ) -> tuple[Request, ProposalLine]:
        proposer, key = self._proposers[line.proposer], f"proposal/{line.n}"
        # A run with parent runs draws other examples than they did; else it would ask nearly the same again.
        draw = self._draw(f"{key}/{len(self.parents)}" if self.parents else key)
        topic = Topic(line.topic, line.user) if line.topic else None
        asked = proposer.ask(Seen(self.seeds, Pool(self.parents, pool, visible), draw, topic))
        least = min(1, len(asked.examples))
        prompt, shown = self._fit(asked.encode, asked.examples, proposer.options.max_tokens, key, least)
        examples = tuple(example.id for example in shown)
        line = msgspec.structs.replace(
            line,
            examples=examples,
            variant=asked.variant,
            depth=asked.depth,
            category=asked.category,
            begun=asked.begun,
        )
        return Request(key, prompt, proposer.options, asked.stop(len(shown)), stop_loops=True), line

    def decide_proposal(
        self,
        asked: ProposalLine,
        completion: Completion,
        index: NoveltyIndex,
        pool: Sequence[Instruction],
        room: int,
    ) -> ProposalLine:
        """Return the journal line of an answered proposal. Adds what it accepts to `index`.

        Args:
            asked: the proposal's line before the answer.
            completion: the engine's answer.
            index: seeds, instructions of parent runs, and everything accepted by earlier proposals.
            pool: what this run's earlier proposals accepted, in the index's order.
            room: instructions still wanted; candidates past it are recorded as `target_reached`.
        """
        if (
            too_long := beginning_of_too_long(completion, self._proposers[asked.proposer].options.max_tokens)
        ) is not None:
            return msgspec.structs.replace(asked, completion=too_long.kept, failed=too_long.failure)
        line = msgspec.structs.replace(asked, completion=completion)
        if not (parsed := self.parse_proposal(line)):
            return msgspec.structs.replace(line, failed=Failure("no_candidates", ""))
        return msgspec.structs.replace(line, candidates=self.decide_candidates(line, parsed, index, pool, room))

    def parse_proposal(self, line: ProposalLine) -> list[ProposedText]:
        """Return the candidates in the answer of a proposal, in order."""
        return [] if line.completion is None else self._proposers[line.proposer].parse(line.completion, line)

    def decide_candidates(
        self,
        line: ProposalLine,
        proposed: Sequence[ProposedText],
        index: NoveltyIndex,
        pool: Sequence[Instruction],
        room: int,
        first: int = 0,
    ) -> tuple[InstructionCandidate, ...]:
        """Decide on the candidates of a proposal. Adds what is accepted to `index`.

        Args:
            line: the proposal's, with the verdicts about its candidates.
            proposed: candidates in order.
            index: seeds and everything accepted before them.
            pool: the same accepted instructions, in the index's order.
            room: instructions still wanted.
            first: position of the first of them among the proposal's candidates.
        """
        return self._candidates().decide(line, proposed, index, pool, room, first)

    def _candidates(self) -> CandidateDecisions:
        filters = self.method.filters
        threshold = is_task.threshold(filters, self.calibration.get("is_task"))
        rejects = filters.is_task == "reject"
        return CandidateDecisions(self.seeds, self.parents, self._accepts, self._check_row, threshold, rejects)

    # -------------------------------------------------------------------------------------- is it a task?

    def to_judge(self, asked: ProposalLine, completion: Completion) -> list[tuple[int, str]]:
        """Return the candidates of a proposal about which the model is asked, as (position, text).

        Args:
            asked: the proposal's line before the answer.
            completion: the engine's answer.
        """
        most, decisions = self._proposers[asked.proposer].options.max_tokens, self._candidates()
        if not self.engine.tells_logprobs or decisions.threshold is None or beginning_of_too_long(completion, most):
            return []
        return decisions.to_judge(self.parse_proposal(msgspec.structs.replace(asked, completion=completion)))

    def is_task_request(self, key: str, text: str) -> Request:
        """Return the request that asks whether a text is a task.

        Args:
            key: of the request.
            text: the text.

        Raises:
            RequestFailed: the text does not fit the context.
        """
        prompt, _ = self._fit(
            lambda shown: is_task.encode_is_task(text, shown, self.method.frame),
            self.known_texts.shown,
            is_task.SAMPLING.max_tokens,
            key,
        )
        return Request(key, prompt, is_task.SAMPLING, choices=prompts.choices("completion", self.method.frame))

    # ------------------------------------------------------------------------------------ classification

    def classification_request(self, instruction: Instruction, without: SeedTask | None = None) -> Request:
        """Return the request that asks whether `instruction` is a classification task.

        Args:
            instruction: the instruction.
            without: a seed that is no example, since the question is about it.

        Raises:
            RequestFailed: the instruction does not fit the context.
        """
        step, key = self.method.classification, f"classification/{instruction.id}"
        frame = self.method.frame

        def encode(shown: Sequence[SeedTask]) -> Prompt:
            return prompts.encode_classification(instruction.text, shown, self.style, frame)

        examples = [seed for seed in self.classification_examples if seed is not without]
        prompt, _ = self._fit(encode, examples, step.max_tokens, key)
        stop = prompts.CLASSIFICATION_STOP if self.style == "completion" else ()
        return Request(key, prompt, step, stop, prompts.choices(self.style, frame))

    def decide_classification(self, instruction: Instruction, completion: Completion) -> ClassificationLine:
        """Return the journal line of a classification; an answer that is neither yes nor no is a failure, not "no".

        Where the question is calibrated, the log-odds decide, not the word.
        """
        if (too_long := beginning_of_too_long(completion, self.method.classification.max_tokens)) is not None:
            return ClassificationLine(instruction.id, too_long.kept, failed=too_long.failure)
        answer = parse_classification(completion.text, self.method.frame)
        if answer is None:
            failure = Failure("unparsable_classification", completion.text[:200])
            return ClassificationLine(instruction.id, completion, failed=failure)
        calibration, odds = self.calibration.get("classification"), is_task.log_odds(completion)
        if calibration is not None and calibration.threshold is not None and odds is not None:
            answer = odds >= calibration.threshold
        return ClassificationLine(instruction.id, completion, answer)

    # ----------------------------------------------------------------------------------------- instances

    def instances_request(self, instruction: Instruction, is_classification: bool) -> Request:
        """Return the request for instances: output-first for a classification task, else input-first (paper, 2.2).

        Where inputs are answered separately, it asks for inputs alone instead of the latter.
        """
        step, key = self.method.instances, f"instances/{instruction.id}"
        encode = _ENCODERS[self._form(is_classification)]
        examples = self._instance_examples[is_classification]
        prompt, _ = self._fit(
            lambda shown: encode(instruction.text, shown, self.style, examples.frame),
            examples.tasks,
            step.max_tokens,
            key,
        )
        another = prompts.next_task(examples.frame, labels_first=is_classification)
        return Request(key, prompt, step, stop_loops=True, ends_before=another if self.style == "completion" else None)

    def decide_instances(
        self, instruction: Instruction, is_classification: bool, completion: Completion
    ) -> InstancesLine:
        """Return the journal line of an instance request.

        Args:
            instruction: that the request was about.
            is_classification: its class.
            completion: the answer.
        """
        form = self._form(is_classification)
        if (too_long := beginning_of_too_long(completion, self.method.instances.max_tokens)) is not None:
            return InstancesLine(instruction.id, form, too_long.kept, failed=too_long.failure)
        truncated = completion.finish_reason != "stop"
        frame = self._instance_examples[is_classification].frame
        if form == "input_first":
            parsed = instance_parsing.parse_input_first(
                completion.text,
                truncated=truncated,
                frame=frame,
                instruction=instruction.text,
                plain=self.style == "chat",
            )
        else:
            parse = instance_parsing.parse_input_only if form == "input_only" else instance_parsing.parse_output_first
            parsed = parse(completion.text, truncated=truncated, frame=frame, instruction=instruction.text)
        if form == "input_only":  # Where it writes no input, the task has none; `no_material` looks at that.
            rows = decide_inputs(parsed or [ParsedInstance("", "")], self.method.filters.max_instances)
        elif not parsed:
            return InstancesLine(instruction.id, form, completion, failed=Failure("no_instances", ""))
        else:
            rows = self.decide_rows(instruction, is_classification, parsed)
        return InstancesLine(instruction.id, form, completion, rows)

    def decide_rows(
        self, instruction: Instruction, is_classification: bool, parsed: Sequence[ParsedInstance]
    ) -> tuple[InstanceCandidate, ...]:
        """Decide on all instances of one instruction, by the filters of instances and of rows.

        Args:
            instruction: the instruction.
            is_classification: whether their outputs are labels.
            parsed: the instances, in the order of the answer.
        """
        decisions = [self._check_row(Row(instruction.text, p.input, p.output, is_classification)) for p in parsed]
        return decide_instances(parsed, decisions, self.method.filters.max_instances)

    def _form(self, is_classification: bool) -> Form:
        """Return what a request for instances asks for: labels come first also where inputs are answered separately."""
        if is_classification:
            return "output_first"
        return "input_only" if self.separate else "input_first"

    # -------------------------------------------------------------------------------------------- answer

    def answer_request(
        self, instruction: Instruction, number: int, task_input: str, begun: Completion | None
    ) -> Request:
        """Return the request for the answer to one input, or for the rest of an answer.

        Args:
            instruction: the instruction.
            number: of the input.
            task_input: the input; may be empty.
            begun: the beginning of the answer, if it was cut.
        """
        key = f"answer/{instruction.id}/{number}" + ("" if begun is None else "/rest")
        text = with_constraints(instruction.text, self.constraints_of(instruction))
        return self.answering.request(key, text, task_input, begun)

    def decide_answer(
        self, instruction: Instruction, number: int, task_input: str, begun: Completion | None, completion: Completion
    ) -> AnswerLine:
        """Return the journal line of an answer; one that was cut goes on once.

        Args:
            instruction: the instruction.
            number: of the input.
            task_input: the input; may be empty.
            begun: the beginning of the answer, if it was cut.
            completion: the answer, or its rest.
        """
        if (too_long := beginning_of_too_long(completion, self.method.answer.max_tokens)) is not None:
            return AnswerLine(instruction.id, number, too_long.kept, failed=too_long.failure)
        if self.answering.goes_on(completion, begun):
            return AnswerLine(instruction.id, number, completion, to_be_continued=True)
        demanded = self.constraints_of(instruction)
        decided = self.answering.decide(instruction.text, task_input, completion, begun, demanded)
        return AnswerLine(instruction.id, number, completion, candidates=decided, constraints=demanded)

    def constraints_of(self, instruction: Instruction) -> tuple[Constraint, ...]:
        """Return what is demanded of the answers to an instruction: a function of the run's seed and its id."""
        if not (options := self.method.constraints).share:
            return ()
        draw = self._draw(f"constraints/{instruction.id}")
        return constraints.draw(draw, constraints.TRAINING, options.max) if draw.random() < options.share else ()

    # ------------------------------------------------------------------------------------------- helpers

    def _draw(self, purpose: str) -> random.Random:
        """Return the generator of one purpose's random choices; a string seeds `Random` alike on every machine."""
        return random.Random(f"{self.method.seed}/{purpose}")

    def _drawn(self, tasks: Sequence[SeedTask], purpose: str) -> Examples:
        return Examples.of(compact(tasks, self.method.instances.num_examples, self._draw(purpose)), self.method.frame)

    def _fit(
        self, encode: Callable[[Sequence[T]], Prompt], examples: Sequence[T], max_tokens: int, key: str, least: int = 0
    ) -> tuple[Prompt, list[T]]:
        limit = self.engine.context_length - max_tokens
        fitted = fit(encode, examples, limit, self.engine.count_tokens)
        if fitted is None or len(fitted[1]) < least:
            raise RequestFailed(
                "prompt_too_long",
                f"{key}: {self.engine.count_tokens(encode(examples[:least]))} tokens; "
                f"the context of {self.engine.context_length} leaves {limit} beside max_tokens={max_tokens}",
            )
        return fitted
