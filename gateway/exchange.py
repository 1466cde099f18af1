"""Joins a client connection to an upstream connection for one exchange, both ways, with back-pressure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway import heads
from gateway.framing import BodyReader, BrokenFramingError, ChunkedBody, LengthBody, UntilCloseBody
from gateway.heads import AnswerHead, BadHeadError, RequestHead
from gateway.refusal import Refusal, own_answer
from gateway.splice import MAX_SPLICE_BYTES, splice_model
from gateway.transports import Stall

if TYPE_CHECKING:
    import asyncio

    from gateway.downstream import Client
    from gateway.policy import Passage
    from gateway.recording import Ending
    from gateway.relay import Relay
    from gateway.upstream import Connection

_ONE_WRITE_BYTES = 32 << 10
"""Head and body up to this size go in one write; above, copying them together costs more than a second call."""
_MAX_OUTBOX_BYTES = 64 << 10
"""Request bytes kept while a connection is being made, before reading from the client pauses."""
_BODY_IDLE_S = 30.0
_BODY_PROGRESS_BYTES = 1 << 10
"""A request body of which less than this comes in that time, while upstream takes it, is given up: a byte now and then
would hold two connections for ever. Requests to models are sent in one go; a line of 300 bit/s still passes."""
# Stages of an exchange; plain numbers, because an enum's members cost a lookup at every event.
_CONNECTING: Final = 0  # no connection yet, or (with a splice) no whole request body yet
_WAITING: Final = 1  # the request goes up, no answer's head is complete
_ANSWERING: Final = 2
_TUNNEL: Final = 3
_DONE: Final = 4
_END_OF_HEAD = b"\r\n\r\n"
_EXPECT = frozenset({b"expect"})
_CONTINUE = 100
_SWITCHING_PROTOCOLS = 101
_FIRST_FINAL = 200
_NO_CONTENT = 204
_FIRST_ERROR = 400


class Exchange:
    """One request with its answer, while it happens. Holds no rules: heads, framing and policy decide."""

    __slots__ = (
        "_answer",
        "_client",
        "_clock",
        "_connection",
        "_dechunk",
        "_dial",
        "_head",
        "_heard",
        "_held",
        "_keep_upstream",
        "_outbox",
        "_outbox_bytes",
        "_own_s",
        "_passage",
        "_policy",
        "_pool",
        "_relay",
        "_request",
        "_said_continue",
        "_since",
        "_splicing",
        "_stage",
        "_stall",
        "_stopped",
        "_upload_bytes",
        "_upload_since",
        "_wire",
        "recording",
    )

    def __init__(
        self,
        relay: Relay,
        client: Client,
        head: RequestHead,
        passage: Passage,
        wire: bytes | None = None,
        *,
        arrived: float,
    ) -> None:
        """Begin; `wire` is the head that goes up when it is known already, `arrived` when the client's was whole."""
        self.recording = relay.recording(head, passage, arrived)
        self._relay = relay
        self._clock = relay.clock
        self._client = client
        self._head = head
        self._passage = passage
        self._wire = wire
        self._policy = relay.policy
        self._pool = relay.pool
        self._stage: int = _CONNECTING
        self._request: BodyReader = ChunkedBody() if head.chunked else LengthBody(head.length or 0)
        self._answer: BodyReader | None = None
        self._connection: Connection | None = None
        self._dial: asyncio.Task[None] | None = None
        self._outbox: list[bytes] = []
        self._outbox_bytes = 0
        self._held = b""
        self._heard = self._since = arrived
        """`_since`: from when on it is us whom the request waits for."""
        self._own_s = 0.0
        self._stall: Stall | None = None
        self._stopped = False
        self._upload_since = arrived
        self._upload_bytes = 0
        self._splicing = self._wants_splice()
        self._said_continue = False
        self._dechunk = False
        self._keep_upstream = False

    # The request, from the client up.

    @property
    def uploading(self) -> bool:
        """Whether the client still has body bytes to send."""
        return not self._request.done

    def begin(self, rest: bytes) -> bytes:
        """Start with what arrived after the head; returns what is already the next request."""
        if self._splicing:
            self._own_s = self._clock() - self._since
            if self._head.expects_continue:
                self._said_continue = True  # upstream is asked with the whole body, and not for leave
                self._client.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return self.client_data(rest)
        connection = self._pool.take(self._passage.destination.origin, self._heard)
        if connection is None:
            self._start_dial()
            return self.client_data(rest)
        try:
            wire, left = self._read_request(rest)
        except BrokenFramingError:
            self._pool.release(connection, self._heard)
            self._refuse_upload()
            return b""
        self._send(connection, wire)
        return left

    def client_data(self, data: bytes) -> bytes:
        """Take bytes of the request body; returns what is already the next request."""
        self._heard = self._clock()
        if self._stage == _TUNNEL:
            self._write_up(data)
            return b""
        try:
            wire, left = self._read_request(data)
        except BrokenFramingError:
            self._refuse_upload()
            return b""
        if self._stopped:
            return b""
        if self._splicing:
            self._since = self._heard
            self._collect(wire)
        elif wire:
            self._write_up(wire)
        return left

    def client_gone(self) -> None:
        """The client hung up: upstream is closed at once."""
        if self._stage == _TUNNEL:
            self._close_tunnel()
        elif self._stage != _DONE:
            self._end("client_gone")

    def client_paused(self) -> None:
        """The client reads too slowly: upstream waits."""
        if self._connection is not None and self._connection.transport is not None:
            self._connection.transport.pause_reading()

    def client_resumed(self) -> None:
        """The client caught up."""
        if self._connection is not None and self._connection.transport is not None:
            self._connection.transport.resume_reading()

    def _read_request(self, data: bytes) -> tuple[bytes, bytes]:
        """Wire bytes for upstream, and what is left over. A spliced body stays plain until it is whole."""
        reader = self._request
        if reader.done:
            return b"", data
        plain, size = reader.feed(data)
        if plain:
            self.recording.request_slice(plain)
        left = data[size:] if size < len(data) else b""
        if not self._head.chunked or self._splicing:
            return plain, left
        return self._rechunk(plain), left

    def _rechunk(self, plain: bytes) -> bytes:
        reader = self._request
        wire = heads.chunk(plain)
        if reader.done and isinstance(reader, ChunkedBody):
            wire += heads.last_chunk(reader.trailers, self._head.named)
        return wire

    def _write_up(self, wire: bytes) -> None:
        connection = self._connection
        if connection is not None:
            if connection.transport is not None:
                connection.transport.write(wire)
            return
        self._outbox.append(wire)
        self._outbox_bytes += len(wire)
        if self._outbox_bytes > _MAX_OUTBOX_BYTES and not self._splicing:
            self._client.pause_reading()

    def _refuse_upload(self) -> None:
        self._refuse(Refusal(status=400, error="bad_request", message="the request body is malformed"), "rejected")

    # The model splice.

    def _wants_splice(self) -> bool:
        if self._policy.settings.primary_model is None or self._passage.dialect is None:
            return False
        encoded = b"content-encoding" in self._head.fields.present
        if encoded or (self._head.length or 0) > MAX_SPLICE_BYTES or not (self._head.length or self._head.chunked):
            self._relay.counters["splice_skipped"] += 1
            return False
        return True

    def _collect(self, plain: bytes) -> None:
        if plain:
            self._outbox.append(plain)
            self._outbox_bytes += len(plain)
        if self._outbox_bytes > MAX_SPLICE_BYTES:
            self._go_up(None)
        elif self._request.done:
            model = self._policy.settings.primary_model or ""
            self._go_up(splice_model(b"".join(self._outbox), model), model)

    def _go_up(self, spliced: bytes | None, model: str | None = None) -> None:
        """Send a collected body, spliced or as it came."""
        self._splicing = False
        body = spliced
        if spliced is None:
            self._relay.counters["splice_skipped"] += 1
            body = b"".join(self._outbox)
        else:
            self.recording.upstream_model = model
        wire = self._rechunk(body or b"") if self._head.chunked else body or b""
        self._outbox = []
        self._outbox_bytes = len(wire) if spliced is not None and not self._head.chunked else -1
        connection = self._pool.take(self._passage.destination.origin, self._clock())
        if connection is not None:
            self._send(connection, wire)
        else:
            self._outbox = [wire]
            self._start_dial()

    # The connection.

    def _start_dial(self) -> None:
        self._heard = self._clock()
        self._own_s += self._heard - self._since
        self._dial = self._pool.dial(self._passage.destination.origin, self)

    def connected(self, connection: Connection) -> None:
        """A new connection is there (upstream.Waiter)."""
        self._dial = None
        if self._stage == _DONE:
            connection.abort()
            return
        self._since = self._clock()
        wire = b"".join(self._outbox)
        self._outbox = []
        self._client.resume_reading()  # first: an upstream that does not take all of this at once pauses it again
        self._send(connection, wire)

    def connect_failed(self, why: str) -> None:
        """There is no connection (upstream.Waiter)."""
        self._dial = None
        if self._stage != _DONE:
            self._refuse(Refusal(status=502, error="connect", message=why), "connect_failed")

    def _send(self, connection: Connection, wire: bytes) -> None:
        head = self._wire or self._request_head()
        self._connection = connection
        connection.receiver = self
        self._stage = _WAITING
        self._heard = self.recording.t_sent = self._clock()
        transport = connection.transport
        if transport is None:
            self.upstream_ended(clean=False)
        elif len(wire) <= _ONE_WRITE_BYTES:
            transport.write(head + wire)
        else:
            transport.write(head)
            transport.write(wire)
        self._own_s += self._clock() - self._since

    def _request_head(self) -> bytes:
        destination = self._passage.destination
        return heads.request_head(
            self._head,
            target=self._passage.target,
            authority=destination.authority,
            drop=self._policy.drop | _EXPECT if self._said_continue else self._policy.drop,
            credentials=destination.credentials,
            deployment_id=self._policy.deployment_id,
            length=self._outbox_bytes if self.recording.upstream_model is not None and not self._head.chunked else None,
        )

    # The answer, from upstream down.

    def upstream_data(self, data: bytes) -> None:
        """Bytes of the answer (upstream.Receiver)."""
        self._heard = now = self._clock()
        if self._stage == _ANSWERING:
            self._relay_body(data, now)
        elif self._stage == _TUNNEL:
            self._client.write(data)
        else:
            self._read_heads(self._held + data if self._held else data, now)

    def upstream_ended(self, *, clean: bool) -> None:
        """Upstream ended or broke its side (upstream.Receiver)."""
        if self._stage == _DONE:
            return
        if self._stage == _TUNNEL:
            self._close_tunnel()
        elif clean and isinstance(self._answer, UntilCloseBody):
            self._complete()
        else:
            self._broken("the upstream closed the connection before its answer was whole")

    def upstream_paused(self) -> None:
        """Upstream reads too slowly: the client waits (upstream.Receiver)."""
        if self._stage == _TUNNEL or not self._request.done:
            self._client.pause_reading()
        connection = self._connection
        self._stall = Stall(connection.transport if connection is not None else None, self._clock())

    def upstream_resumed(self) -> None:
        """Upstream caught up (upstream.Receiver)."""
        self._stall = None
        self._client.resume_reading()

    def _read_heads(self, data: bytes, now: float) -> None:
        """Read interim heads and the final one; the slice that ends the final head may carry body bytes."""
        while True:
            end = data.find(_END_OF_HEAD)
            if end < 0:
                self._held = data
                if len(data) > heads.MAX_ANSWER_HEAD_BYTES:
                    self._broken("the upstream's answer head is too large")
                elif not heads.may_become_answer(data):
                    self._broken("the upstream does not answer in HTTP/1")
                return
            try:
                head = heads.read_answer(data[: end + 2])
            except BadHeadError as error:
                self._broken(str(error))
                return
            data = data[end + 4 :]
            if head.status >= _FIRST_FINAL or head.status == _SWITCHING_PROTOCOLS:
                break
            # RFC 9110 15.2: never to an HTTP/1.0 client; and leave to send is given once.
            if self._head.minor and not (self._said_continue and head.status == _CONTINUE):
                self._client.write(heads.answer_head(head, request_id=None, close=False))
        self._held = b""
        if head.status == _SWITCHING_PROTOCOLS:
            self._switch(head, data)
        else:
            self._start_answer(head, data, now)

    def _start_answer(self, head: AnswerHead, rest: bytes, now: float) -> None:
        recording = self.recording
        recording.status = head.status
        recording.t_first_byte = now
        recording.response_headers = head.meant
        self._stage = _ANSWERING
        reader = self._answer = _reader_of(self._head.method, head)
        try:
            plain, size = reader.feed(rest)
        except BrokenFramingError as error:
            self._broken(str(error))
            return
        if size < len(rest):
            self._broken("the upstream sent bytes past the end of its answer")
            return
        if plain:
            recording.response_slice(plain, now)
        old = not self._head.minor
        self._dechunk = old and head.chunked
        # A 204 that announces a body may yet send it: it would be read as the answer to the next request.
        doubtful = head.status == _NO_CONTENT and (head.chunked or head.length)
        self._keep_upstream = head.keep_alive and not isinstance(reader, UntilCloseBody) and not doubtful
        if not self._request.done and head.status >= _FIRST_ERROR:
            self._stop_upload()
        keep = self._head.keep_alive and self._keeps_client(reader)
        self._client.keep = keep
        wire = heads.answer_head(head, request_id=recording.id.encode(), close=not keep, dechunked=self._dechunk)
        self._client.write(wire + (plain if self._dechunk else rest))
        recording.overhead_us = round((self._own_s + self._clock() - now) * 1e6)
        if reader.done:
            self._complete()

    def _keeps_client(self, reader: BodyReader) -> bool:
        return self._request.done and not self._client.closing and not isinstance(reader, UntilCloseBody)

    def _relay_body(self, data: bytes, now: float) -> None:
        """Parse a slice, then write it: a slice that is not the answer's is never seen by the client."""
        reader = self._answer
        if reader is None:
            return
        try:
            plain, size = reader.feed(data)
        except BrokenFramingError as error:
            self._broken(str(error))
            return
        if size < len(data):
            self._broken("the upstream sent bytes past the end of its answer")
            return
        if plain:
            self.recording.response_slice(plain, now)
        self._client.write(plain if self._dechunk else data)
        if reader.done:
            self._complete()

    def _stop_upload(self) -> None:
        """Upstream answered early with an error: nothing more goes up, what the client still sends is dropped."""
        self._stopped = True
        self._client.resume_reading()

    def _complete(self) -> None:
        self._end("complete")

    # Tunnels.

    def _switch(self, head: AnswerHead, rest: bytes) -> None:
        if not self._head.websocket:
            self._broken("the upstream switched protocols unasked")
            return
        self.recording.status = head.status
        self.recording.t_first_byte = self._heard
        self._stage = _TUNNEL
        self._client.keep = False
        down = heads.answer_head(head, request_id=self.recording.id.encode(), close=False, upgraded=True)
        self._client.write(down + rest)
        early = self._client.take_buffer()
        if early:
            self._write_up(early)

    @property
    def tunnelled(self) -> bool:
        """Whether both sides now speak past us."""
        return self._stage == _TUNNEL

    def _close_tunnel(self) -> None:
        """One side ended: what it said last is still delivered, then both are closed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.receiver = None
            if connection.transport is not None:
                connection.transport.close()
        self._end("complete")

    # Ends.

    def sweep(self, now: float) -> None:
        """Enforce the deadlines of this exchange."""
        settings = self._policy.settings
        silent_s = now - self._heard
        if self._stage == _CONNECTING and self._dial is not None:
            if silent_s > settings.connect_timeout_s:
                self._refuse(
                    Refusal(status=502, error="connect", message="no connection to the upstream"), "connect_failed"
                )
        elif self._stall is not None and self._stall.lasts(now) > settings.write_stall_timeout_s:
            self._timed_out("the upstream stopped reading the request")
        elif self._stage in (_CONNECTING, _WAITING) and not self._request.done:
            if (self._stall is None and silent_s > settings.idle_timeout_s) or self._upload_stands(now):
                refusal = Refusal(status=408, error="request_timeout", message="the request body stopped arriving")
                self._refuse(refusal, "client_gone")
        elif self._stage == _WAITING:
            if silent_s > settings.first_byte_timeout_s:
                self._timed_out("the upstream did not begin to answer in time")
        elif silent_s > settings.idle_timeout_s and not self._client.paused:
            self._abort("idle_timeout")

    def _upload_stands(self, now: float) -> bool:
        """Whether the client brings its body too slowly, as far as it is the client that is waited for."""
        arrived = self.recording.request_bytes
        unasked = not arrived and self._head.expects_continue  # upstream may still owe the leave to send
        if self._stall is not None or unasked or arrived - self._upload_bytes >= _BODY_PROGRESS_BYTES:
            self._upload_since, self._upload_bytes = now, arrived
        return now - self._upload_since > _BODY_IDLE_S

    def client_stalled(self) -> None:
        """The client has not read for too long."""
        self._abort("client_stalled")

    def drained(self) -> None:
        """The drain is over: broken off, not ended."""
        if self._stage != _DONE:
            self._abort("drained")

    def failed(self) -> None:
        """A fault of ours: both sides are closed (upstream.Receiver)."""
        if self._stage != _DONE:
            self.recording.gateway_error = "internal"
            self._abort("upstream_broken")

    def _timed_out(self, why: str) -> None:
        self._refuse(Refusal(status=504, error="first_byte_timeout", message=why), "first_byte_timeout")

    def _broken(self, why: str) -> None:
        """Upstream failed us: before the answer's head went down the client is told, afterwards it is cut off."""
        if self._stage != _WAITING:
            self._abort("upstream_broken")
            return
        race = self._connection is not None and self._connection.used and self._held == b""
        ending: Ending = "connect_failed" if race else "upstream_broken"
        error = "connection_lost" if race else "bad_answer"
        self._refuse(Refusal(status=502, error=error, message=why), ending)

    def _refuse(self, refusal: Refusal, ending: Ending) -> None:
        """Answer for upstream, or cut the client off when its answer has begun."""
        if self._stage in (_ANSWERING, _TUNNEL):
            self._abort(ending)
            return
        recording = self.recording
        recording.status = refusal.status
        recording.gateway_error = refusal.error
        client = self._client
        client.keep = self._head.keep_alive and self._request.done and not client.closing
        client.write(own_answer(refusal, head=self._head, request_id=recording.id, close=not client.keep))
        self._end(ending)

    def _abort(self, ending: Ending) -> None:
        """Cut the client off so that nobody can take what it has for a whole answer."""
        self._client.keep = False
        self._client.reset()
        self._end(ending)

    def _end(self, ending: Ending) -> None:
        """The one way out: both connections let go, the record handed over, exactly once."""
        if self._stage == _DONE:
            return
        self._stage = _DONE
        if self._dial is not None:
            self._dial.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            self._let_go(connection, reusable=ending == "complete" and self._keep_upstream and self._request.done)
        self._request.close()
        if self._answer is not None:
            self._answer.close()
        try:
            self._client.ended(unread=not self._request.done)
        finally:
            self._relay.submit(self.recording, ending)

    def _let_go(self, connection: Connection, *, reusable: bool) -> None:
        connection.receiver = None
        if reusable and connection.transport is not None and connection.transport.get_write_buffer_size() == 0:
            connection.transport.resume_reading()
            self._pool.release(connection, self._clock())
        else:
            connection.abort()


def _reader_of(method: bytes, head: AnswerHead) -> BodyReader:
    """How the body of an answer ends (RFC 9112 6.3)."""
    if heads.has_no_body(method, head.status):
        return LengthBody(0)
    if head.chunked:
        return ChunkedBody()
    if head.length is None:
        return UntilCloseBody()
    return LengthBody(head.length)
