"""Turns received bytes into one answer at a time; owns HTTP framing and knows no socket."""

from __future__ import annotations

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from proxy.core.model import Certainty, Headers, TransportFailure, WireError, header
from proxy.edges.mending import Unreadable, mend
from proxy.edges.wire import plain

HEAD_LIMIT = 64 * 1024
FIELD_LIMIT = 200
_SWITCHING_PROTOCOLS = 101
_FIRST_INTERIM, _FIRST_FINAL = 100, 200
_BODILESS = {204, 304}
_HTTP = b"HTTP/"
_TRANSFER_ENCODING = b"transfer-encoding"
_NO_PHRASE = bytes.maketrans(bytes([*range(9), *range(10, 32), 127]), b" " * 32)
"""RFC 9112 section 4: a reason phrase is of HTAB, SP, VCHAR and obs-text."""


class ResponseReader:
    """Collects the final answer to one request after another on the same connection.

    Read after each `feed`: `status` is 0 until the head of the final answer is there; `complete` and `trouble`
    say that nothing more is to be expected.
    """

    __slots__ = (
        "_bodiless",
        "_chunked",
        "_codings",
        "_extra",
        "_fields",
        "_head",
        "_keep_alive",
        "_mended",
        "_objection",
        "_open_ended",
        "_overhead",
        "_parser",
        "chunks",
        "complete",
        "headers",
        "heard",
        "reason",
        "size",
        "status",
        "trouble",
    )

    def __init__(self) -> None:
        self._bodiless = False
        self._parser = _new_parser(self)
        self.begin(bodiless=False)

    def begin(self, *, bodiless: bool) -> None:
        """Expect the answer to a new request; `bodiless` for HEAD, whose answer may announce a body it lacks."""
        if self._bodiless:  # llhttp does not know HEAD and still waits for that body
            self._parser = _new_parser(self)
        self._bodiless = bodiless
        self._fields: list[tuple[bytes, bytes]] = []
        self._head = self._codings = b""
        self._objection = ""
        self._keep_alive = self._extra = self._chunked = self._mended = self.complete = self.heard = False
        self._open_ended: bool | None = None
        self._overhead = 0
        self.status = 0
        self.reason = b""
        self.trouble = ""
        self.headers: Headers = ()
        self.chunks: list[bytes] = []
        self.size = 0

    def feed(self, data: bytes) -> None:
        """Parse what was received. Never raises: what is wrong is said in `trouble`."""
        held = self.size
        self.heard = True
        self._overhead += len(data)
        if not self.status:
            self._head += data
        if self._objection:
            if b"\n" in data:
                self._mend()
        else:
            self._parse(data)
        if self.size != held:
            self._overhead = 0
        elif self._overhead > HEAD_LIMIT and not self.complete:
            self.trouble = self.trouble or ("64 KiB without a byte of body" if self.status else "head too large")

    @property
    def objection(self) -> str:
        """What is wrong with the answer, as far as can be said by now; empty if nothing is."""
        return self.trouble or self._objection

    def end(self) -> None:
        """The peer has closed in good order: an answer without a length of its own is complete now."""
        if self.status and not self.trouble and not self._framed():
            self.complete = True

    def close(self) -> None:
        """Let go of the parser, which holds this reader in a cycle. Nothing is fed after this."""
        del self._parser

    def take(self) -> bytes:
        """Hand over the body bytes held so far."""
        chunks, self.chunks, self.size = self.chunks, [], 0
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def exceeds(self, limit: int) -> bool:
        """Whether the body is, or says it will be, more than `limit` bytes, or comes in its own good time."""
        if self.size > limit:
            return True
        if self._open_ended is None:
            kind = header(self.headers, b"content-type") or b""
            length = None if self._codings else header(self.headers, b"content-length")
            events = kind.partition(b";")[0].strip().lower() == b"text/event-stream"
            self._open_ended = events or int(length or 0) > limit
        return self._open_ended

    @property
    def reusable(self) -> bool:
        """Whether this answer leaves the connection in step for another request."""
        if not (self.complete and self._keep_alive) or self._extra:
            return False
        # RFC 9112 section 6.3: chunked wins, but whoever sends both cannot be trusted with the next request.
        return not (self._chunked and header(self.headers, b"content-length") is not None)

    def _framed(self) -> bool:
        if self._codings:
            return self._codings.rpartition(b",")[2].strip().lower() == b"chunked"
        return header(self.headers, b"content-length") is not None

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._reject("switching protocols")
        except HttpParserError as error:
            self._reject(str(error))

    def _reject(self, why: str) -> None:
        if self.complete:
            self._extra = True
        elif self.status or self.trouble or self._mended:
            self.trouble = self.trouble or plain(why)
        else:
            self._objection = plain(why)
            self._mend()

    def _mend(self) -> None:
        """Put a refused head into strict form, once it is there as a whole, and begin anew with that."""
        try:
            mended = mend(self._head, self._objection)
        except Unreadable as error:
            self.trouble = plain(str(error))
            return
        if mended is not None:
            self._mended, self._objection = True, ""
            self._fields, self.reason = [], b""
            self._parser = _new_parser(self)
            self._parse(mended)

    # What llhttp calls, in this order.

    def on_message_begin(self) -> None:
        if self.complete:
            raise ValueError("more than one answer to one request")

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name, value))  # trailers, too: they come too late to be seen in `headers`

    def on_headers_complete(self) -> None:
        parser = self._parser
        status, version = parser.get_status_code(), parser.get_http_version()
        self.trouble = self.trouble or self._head_trouble(status, version)
        if status >= _FIRST_FINAL and not self.trouble:
            self.status = status
            self.reason = self.reason.translate(_NO_PHRASE)
            self.headers = tuple(self._fields)
            self._head = b""
            self._codings = b",".join([value for name, value in self._fields if name.lower() == _TRANSFER_ENCODING])
            self._keep_alive = version == "1.1" and parser.should_keep_alive()
            self.complete = self._bodiless
            self.trouble = self._coding_trouble()

    def on_chunk_header(self) -> None:
        self._chunked = True
        self._extra = self.complete

    def on_body(self, data: bytes) -> None:
        if self.complete:
            self._extra = True
        else:
            self.chunks.append(data)
            self.size += len(data)

    def on_message_complete(self) -> None:
        if self.status:
            self.complete = True
        else:  # an interim answer: forget it, the final one follows
            self._fields, self.reason = [], b""

    def _coding_trouble(self) -> str:
        """Chunks are undone here; a body in any other coding would be passed on as if it were plain."""
        if not self._codings or self._bodiless or self.status in _BODILESS:
            return ""
        codings = [coding.strip().lower() for coding in self._codings.split(b",")]
        undone = [coding for coding in codings if coding not in {b"", b"identity"}] in ([], [b"chunked"])
        return "" if undone else "a transfer coding that nobody undid"

    def _head_trouble(self, status: int, version: str) -> str:
        fields = self._fields
        spoken = self._mended or self._head.lstrip(b"\r\n").startswith(_HTTP)  # llhttp takes RTSP and ICE as well
        if not spoken or version not in {"1.1", "1.0"} or status < _FIRST_INTERIM:
            return "not an HTTP/1 answer"
        if status == _SWITCHING_PROTOCOLS:
            return "switching protocols"
        if len(fields) > FIELD_LIMIT:
            return "too many header fields"
        large = self._overhead > HEAD_LIMIT and sum(len(n) + len(v) + 4 for n, v in fields) > HEAD_LIMIT
        return "head too large" if large else ""


def _new_parser(reader: ResponseReader) -> HttpResponseParser:
    parser = HttpResponseParser(reader)
    # Chunked beside Content-Length is for us to judge (`reusable`), and so is what follows `Connection: close`.
    # White space behind a chunk's size is in no grammar and changes nothing; old servers pad with it.
    parser.set_dangerous_leniencies(
        lenient_chunked_length=True, lenient_keep_alive=True, lenient_spaces_after_chunk_size=True
    )
    return parser


def failure(reader: ResponseReader, *, lost: bool) -> TransportFailure:
    """What to call an answer that is not whole; `lost` says that the connection is gone."""
    within = "body" if reader.status else "head"
    if reader.objection:
        error, detail = WireError.JUNK, reader.objection
    elif lost:
        error, detail = WireError.CUT if reader.status else WireError.RESET, f"closed within the {within}"
    else:
        error, detail = WireError.TIMEOUT, f"no complete {within} in time"
    if not reader.status:
        return TransportFailure(Certainty.NO_ANSWER, error, detail)
    return TransportFailure(Certainty.CUT, error, detail, reader.status, reader.headers)
