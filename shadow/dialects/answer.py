"""An answer while it is being read, and the rules that say how it ended."""

from __future__ import annotations

import msgspec

from shadow.dialects.untrusted import with_whole_characters
from shadow.records import Outcome, Reply, ToolCall, Usage

_OUTCOME_BY_STOP_REASON = {
    "max_tokens": Outcome.TRUNCATED,
    "length": Outcome.TRUNCATED,
    "max_output_tokens": Outcome.TRUNCATED,
    "model_context_window_exceeded": Outcome.TRUNCATED,
    "incomplete": Outcome.TRUNCATED,
    "refusal": Outcome.REFUSAL,
    "content_filter": Outcome.REFUSAL,
    "pause_turn": Outcome.PAUSED,
    # Beta: the answer stopped to hand out a compacted history and waits to be continued, like pause_turn.
    "compaction": Outcome.PAUSED,
    # A response that is made in the background.
    "queued": Outcome.PAUSED,
    "in_progress": Outcome.PAUSED,
}


class Answer(msgspec.Struct, kw_only=True):
    """What is known of an answer so far. Filled by the reader of one dialect, turned into a Reply once."""

    streamed: bool
    model: str | None = None
    stop_reason: str | None = None
    refused: bool = False
    error: str | None = None
    started: bool = False
    ended: bool = False
    usage: Usage | None = None
    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    first_output_offset: int | None = None
    first_text_offset: int | None = None

    def saw_output(self, offset: int) -> None:
        """Remember where the first non-empty output of any kind ended."""
        if self.first_output_offset is None:
            self.first_output_offset = offset

    def saw_text(self, offset: int) -> None:
        """Remember where the first non-empty text ended; text is output too."""
        self.saw_output(offset)
        if self.first_text_offset is None:
            self.first_text_offset = offset

    def fail(self, error: str) -> None:
        """Note the first error; nothing that follows it counts."""
        self.error = self.error or error
        self.ended = True

    def reply(self, *, last_event: str) -> Reply:
        """Build the reply; `last_event` names what should have ended it, for the error's sentence."""
        error = self.error
        if error is None and not self.started:
            error = "the body holds no answer"
        if error is None and not self.ended:
            error = f"the stream ended before {last_event}"
        return Reply(
            outcome=self._outcome(error),
            text=with_whole_characters(self.text),
            tool_calls=tuple([_with_whole_characters(call) for call in self.tool_calls]),
            stop_reason=_whole(self.stop_reason),
            model=_whole(self.model),
            usage=self.usage,
            error=_whole(error),
            streamed=self.streamed,
            first_output_offset=self.first_output_offset,
            first_text_offset=self.first_text_offset,
        )

    def _outcome(self, error: str | None) -> Outcome:
        if error is not None:
            return Outcome.ERROR_STREAM
        if self.refused:
            return Outcome.REFUSAL
        return _OUTCOME_BY_STOP_REASON.get(self.stop_reason or "", Outcome.OK)


def _whole(text: str | None) -> str | None:
    return None if text is None else with_whole_characters(text)


def _with_whole_characters(call: ToolCall) -> ToolCall:
    return ToolCall(
        name=with_whole_characters(call.name), arguments=with_whole_characters(call.arguments), id=_whole(call.id)
    )
