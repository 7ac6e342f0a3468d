# ruff: noqa: E501  (a fault is one line beside the other)
"""Seeded faults: each is a mistake somebody could make, in a line of ours, that the suite must find."""

from __future__ import annotations

from dataclasses import dataclass

STRICT = ("tests/proxy/test_strict.py", "tests/proxy/test_corpus.py", "tests/properties/test_heads.py")
FIELDS = ("tests/proxy/test_headers.py", "tests/proxy/test_corpus.py", "tests/properties/test_crossing.py")
TRUST = ("tests/properties/test_trusted_proxies.py",)
PREAMBLE = ("tests/properties/test_proxy_protocol.py",)
PACE = ("tests/properties/test_pace.py",)
DOOR = ("tests/proxy/test_door.py",)
LOCAL = ("tests/proxy/test_local_person.py",)
BODY = ("tests/properties/test_chunked.py", "tests/properties/test_exchanges.py")
PEER = ("tests/proxy/test_peer.py", "tests/properties/test_exchanges.py")
RETRY = ("tests/properties/test_retries.py", "tests/properties/test_forwarding_in_any_order.py")
DUPLEX = (
    "tests/properties/test_duplex.py",
    "tests/properties/test_exchanges.py",
    "tests/properties/test_forwarding_in_any_order.py",
)
TUNNEL = ("tests/properties/test_tunnels.py",)
STREAMS = ("tests/proxy/test_streams.py",)
BACKEND = ("tests/proxy/test_backend.py", "tests/properties/test_retries.py")
MODULES = ("tests/proxy/test_pipeline.py", "tests/properties/test_editable_heads.py")


@dataclass(frozen=True, slots=True)
class Fault:
    """`old` stands once in `file`; with `new` in its place `why` happens, and one of `tests` must fail."""

    file: str
    old: str
    new: str
    why: str
    tests: tuple[str, ...]


FAULTS = (
    # strict.py
    Fault("proxy/strict.py", 'rb"(?<!\\r)\\n"), "a line that ends in LF', 'rb"(?<!\\r)\\n\\n"), "a line that ends in LF',
          "a bare LF ends a line for an app that takes it, and not for us", STRICT),
    Fault("proxy/strict.py", 'rb"\\r(?!\\n)"), "a CR without LF"', 'rb"\\r\\r(?!\\n)"), "a CR without LF"',
          "a bare CR hides a field", STRICT),
    Fault("proxy/strict.py", 're.compile(rb"\\r\\n[ \\t]"), "a folded', 're.compile(rb"\\r\\n[\\t]"), "a folded',
          "a folded line hides a field from us", STRICT),
    Fault("proxy/strict.py", 're.compile(rb"\\r\\n[^:\\r]*[ \\t]:")', 're.compile(rb"\\r\\n[^:\\r]*[\\t]:")',
          "a space before the colon makes another field of it", STRICT),
    Fault("proxy/strict.py", "    if lengths and codings:\n", "    if lengths and codings and False:\n",
          "CL.TE: both lengths", STRICT),
    Fault("proxy/strict.py", "    if len(lengths) > 1:\n", "    if len(set(lengths)) > 1:\n",
          "a repeated Content-Length is taken for one", STRICT),
    Fault("proxy/strict.py", '_DIGITS = re.compile(rb"[0-9]{1,19}")', '_DIGITS = re.compile(rb"[+]?[0-9]{1,19}")',
          "Content-Length: +5", STRICT),
    Fault("proxy/strict.py", "    if len(codings) > 1:\n", "    if len(codings) > 2:\n",
          "TE.TE: two Transfer-Encoding fields", STRICT),
    Fault("proxy/strict.py", "    if len(hosts) > 1:\n", "    if len(hosts) > 2:\n",
          "two Hosts choose two apps", STRICT),
    Fault("proxy/strict.py", 'frozenset({b"content_length", b"transfer_encoding"})', 'frozenset({b"content_length"})',
          "Transfer_Encoding frames for a CGI-like app", STRICT),
    Fault("proxy/strict.py", "if _without_default_port(hosts[0], scheme) != authority:", "if hosts[0] == b'':",
          "Host and absolute target disagree about who is asked", STRICT),
    # headers.py
    Fault("proxy/headers.py", '_OURS = b"ms-aspnetcore"', '_OURS = b"ms-aspnetcore-"',
          "ANCM's prefix has no dash at its end", FIELDS),
    Fault("proxy/headers.py", 'bytes(c if chr(c).isalnum() and c < 128 else ord("-")', 'bytes(c if chr(c).isalnum() or c == 95 else ord("-")',
          "MS_ASPNETCORE_TOKEN reaches a WSGI app as the token", FIELDS),
    Fault("proxy/headers.py", "keys = {_key(option) for option in nominated} - _NEVER_NOMINATED", "keys = {_key(option) for option in nominated}",
          "Connection: Host removes the Host", FIELDS),
    Fault("proxy/headers.py", '    b"proxy": _Act.DROP,', '    b"proxy-x": _Act.DROP,', "httpoxy", FIELDS),
    Fault("proxy/headers.py", '    b"te": _Act.TE,\n', "", "TE goes on without Connection: TE", FIELDS),
    Fault("proxy/headers.py", "        return trusted and name.lower() == key", "        return True",
          "a client says what its address is", FIELDS),
    Fault("proxy/headers.py", "key not in _NEVER_TRAILERS and not key.startswith((_OURS, *_FORWARDED_PREFIXES))", "key not in _NEVER_TRAILERS",
          "the token comes in a trailer", FIELDS),
    Fault("proxy/headers.py", '_SPEAKS_HTTP = re.compile(rb"(?:h2c?|', '_SPEAKS_HTTP = re.compile(rb"(?:h2|',
          "h2c: a tunnel for requests that nobody looks at", FIELDS),
    # forwarded.py, trust.py
    Fault("proxy/forwarded.py", "        if not (hop.address and trusts(hop.address)):", "        if not hop.address:",
          "a visitor behind a trusted proxy says what its address is", TRUST),
    Fault("proxy/forwarded.py", "        if _ELEMENT.fullmatch(value, comma + 1, end):", "        if True:",
          "a quoted comma cuts an element", TRUST),
    Fault("proxy/forwarded.py", "    if len(said) < len(pairs):", "    if False:",
          "of a parameter that is there twice the last is believed", TRUST),
    Fault("proxy/forwarded.py", "    members = value.rsplit(b\",\", MAX_HOPS)[-MAX_HOPS:]", "    members = value.split(b\",\")[:MAX_HOPS]",
          "an endless list is followed to its end", TRUST),
    Fault("proxy/forwarded.py", "        _scheme(schemes[min(depth, len(schemes)) - 1])", "        _scheme(schemes[-1])",
          "a visitor says that it came by https", TRUST),
    Fault("proxy/trust.py", "        visitor = self._memory.get((peer, said))", "        visitor = self._memory.get((peer, said[:1]))",
          "one visitor is taken for another one of the same proxy", TRUST),
    Fault("proxy/head.py", "crossing = partial(crossing_of_request, trusted=trusted)", "crossing = partial(crossing_of_request, trusted=True)",
          "an untrusted peer's X-Forwarded-Prefix crosses in the quick lane", TRUST),
    # local_person.py
    Fault("proxy/local_person.py", "    if peer.nameless or is_relayed(request.fields):", "    if peer.nameless:",
          "an app's output is for the visitors of a proxy on this machine", LOCAL),
    Fault("proxy/local_person.py", "is_loopback(peer.address) and names_this_machine(request.host)", "is_loopback(peer.address)",
          "an app's output is for a page that a browser has open", LOCAL),
    Fault("proxy/local_person.py", "return uid is not None and uid in (0, owner)", "return True",
          "an app's output is for the visitors of a proxy that adds no field", LOCAL),
    # door.py
    Fault("proxy/door.py", "        return held < self.limit or", "        return True or",
          "connections until the descriptors are gone", DOOR),
    Fault("proxy/door.py", "for connection in connections if connection.idle]", "for connection in connections]",
          "a request is cut off to make room", DOOR),
    Fault("proxy/door.py", "heapq.nsmallest(", "heapq.nlargest(", "who has just come is closed first", DOOR),
    Fault("proxy/door.py", "            self._clients[client] -= 1", "            self._clients[client] -= 0",
          "a client is shut out for ever", DOOR),
    # pace.py
    Fault("proxy/pace.py", "        if left <= 0:", "        if left <= -1e9:",
          "a byte now and then holds a thread of the app", PACE),
    Fault("proxy/pace.py", "        self._waited += self._now() - since", "        self._waited = self._now() - since",
          "a client that is slow again and again is slow only once", PACE),
    Fault("proxy/pace.py", "        self._moved += moved", "        self._moved = moved", "a long upload is too slow at its end", PACE),
    Fault("proxy/forward.py", "        return exchange.request.expects_continue and not exchange.body_taken", "        return False",
          "a client that waits for 100 pays for the app's thinking", PACE),
    Fault("proxy/forward.py", "                if exchange.status or self._waits_for_100():", "                if self._waits_for_100():",
          "who listens has to speak", PACE),
    Fault("proxy/forward.py", "Pace(exchange.front.min_download_rate, self", "Pace(0, self",
          "who takes a byte now and then holds a thread of the app", PACE),
    Fault("proxy/body.py", "            left = None if give_up is None else max(give_up - self._stream.now(), 0)", "            left = timeout",
          "a chunk's extension is dribbled", PACE),
    # proxy_protocol.py, preambles.py
    Fault("proxy/proxy_protocol.py", "(header[:at] + bytes(4) + header[at + 4 :]) != int", "(header[:at] + bytes(4) + header[at + 4 :]) < int",
          "a bent header passes for a whole one", PREAMBLE),
    Fault("proxy/proxy_protocol.py", "    if command == _LOCAL:", "    if command == 7:",
          "a load balancer's own question is taken for a visitor's", PREAMBLE),
    Fault("proxy/proxy_protocol.py", '    return (":" in address) == (family == "TCP6") and', "    return",
          "an address of the other family", PREAMBLE),
    Fault("proxy/preambles.py", "        if not self._trusts(peer):", "        if False:",
          "whoever reaches the port says who is calling", PREAMBLE),
    Fault("proxy/preambles.py", "if found is None else found.length - len(self._data))", ")",
          "the beginning of the request is lost", PREAMBLE),
    Fault("proxy/preambles.py", "scheme=scheme, nameless=True)", "scheme=scheme)",
          "a visitor whom nobody names speaks for others", PREAMBLE),
    # body.py
    Fault("proxy/body.py", '(?P<size>[0-9A-Fa-f]{1,16}+)(?:" + _EXTENSION', '(?P<size>[0-9A-Fa-f]{1,16}+)[ \\t]*(?:" + _EXTENSION',
          "blanks after a chunk's size", BODY),
    Fault("proxy/body.py", 'if not b"\\r\\n".startswith(end):', 'if not b"\\r\\n".startswith(end[:1]):',
          "anything may follow the CR at a chunk's end", BODY),
    Fault("proxy/body.py", "        if line.end() - at > MAX_SIZE_LINE:", "        if line.end() - at > 100 * MAX_SIZE_LINE:",
          "extensions without bound, when they come whole", BODY),
    Fault("proxy/body.py", "if len(data) - at > MAX_SIZE_LINE or not", "if not", "extensions without bound", BODY),
    Fault("proxy/body.py", "        if len(section) > TRAILER_LIMITS.max_head:", "        if len(section) > 1 << 30:",
          "trailers without bound", BODY),
    Fault("proxy/body.py", "self.trailers = trailer_fields([(name, value", "self.trailers = ([(name, value",
          "trailers cross unfiltered", BODY),
    Fault("proxy/body.py", "        if self.done:\n            self.rest = data[at:]", "        if self.done:\n            self.rest = b''",
          "the next pipelined request is lost", BODY),
    Fault("proxy/body.py", "            self._looked_at = 0\n", "", "a bare LF in a trailer after a long size line is not seen", BODY),
    Fault("proxy/body.py", "            self._stream.unread(data[self._left :])", "            pass",
          "what follows a body with a length is lost", BODY),
    Fault("proxy/body.py", "        data = self._stream.recv(timeout, eager=True)\n        if not data:\n            raise", "        data = self._stream.recv(timeout, eager=True)\n        if not data:\n            self.done = True\n            return data\n            raise",
          "a body that broke off looks whole", BODY),
    Fault("proxy/body.py", '                raise Truncated("the last chunk is missing")', "                self.done = True; return b''",
          "a chunked body that broke off looks whole", BODY),
    # peer.py
    Fault("proxy/peer.py", '    if data == b"\\r":  # perhaps half an empty line', '    if data == b"\\n":',
          "an empty line that comes in two pieces is refused", PEER),
    Fault("proxy/peer.py", "            stream.unread(data[end.end() :])", "            pass", "what follows a head is lost", PEER),
    Fault("proxy/peer.py", 'if request.method == b"HEAD" or response.status < 200', "if response.status < 200",
          "the answer to HEAD waits for a body", PEER),
    Fault("proxy/peer.py", "response.status in (204, 304)", "response.status in (204,)", "304 waits for a body", PEER),
    Fault("proxy/peer.py", "left = None if give_up is None else give_up - stream.now()", "left = timeout",
          "slowloris", PEER),
    # forward.py: retries
    Fault("proxy/forward.py", "if self.reused and self.request.method in REPEATABLE and", "if self.request.method in REPEATABLE and",
          "a request is repeated after a connection of its own", RETRY),
    Fault("proxy/forward.py", "self.request.method in REPEATABLE and self.request.framing is Framing.NONE", "self.request.method in REPEATABLE",
          "a request with a body is repeated", RETRY),
    Fault("proxy/forward.py", "if self.reused and self.request.method in REPEATABLE and", "if self.reused and",
          "a POST is repeated", RETRY),
    Fault("proxy/forward.py", "                self.reused = False  # from here", "                pass  # from here",
          "a request is repeated after a 1xx", RETRY),
    Fault("proxy/forward.py", "        except Unseen:\n            reuse = False", "        except Unseen:\n            reuse = True",
          "a repetition takes another idle connection, and is repeated again", RETRY),
    Fault("proxy/forward.py", "            if not next_generation:", "            if next_generation is None:",
          "a generation that refuses is waited for for ever", RETRY),
    # forward.py: duplex and framing
    Fault("proxy/forward.py", "        if response.framing in NO_LENGTH and not chunked:", "        if response.framing is Framing.UNTIL_CLOSE and not chunked:",
          "HTTP/1.0 cannot tell the end of a chunked answer", DUPLEX),
    Fault("proxy/forward.py", "return field_lines(without_length(fields) if bare else fields)", "return field_lines(fields)",
          "Content-Length in 204", DUPLEX),
    Fault("proxy/forward.py", '        if self.request.version != b"1.0":  # RFC 9110 15.2', '        if True:  # RFC 9110 15.2',
          "1xx to HTTP/1.0", DUPLEX),
    Fault("proxy/forward.py", "            if not self.finished:\n                self.app.close()", "            pass",
          "the app's connection stays open when an exchange ends badly", DUPLEX),
    Fault("proxy/forward.py", "        self.client.watch_gone(self._client_left)", "        pass",
          "a client that goes away keeps its app busy", DUPLEX),
    Fault("proxy/forward.py", "        if uploaded and response.keep_alive:", "        if response.keep_alive:",
          "half a request stays on a pooled connection", DUPLEX),
    Fault("proxy/forward.py", "            exchange.keep_alive = False  # RFC 9112 9.6: the rest", "            pass  # RFC 9112 9.6: the rest",
          "the rest of a body is read as the next request", DUPLEX),
    Fault("proxy/forward.py", '    return b"*" if whole_server and target.authority else target.origin', "    return target.origin",
          "OPTIONS of a whole server becomes OPTIONS of /", DUPLEX),
    Fault("proxy/forward.py", '            self.failure = failure\n            with_app.app.close()', "            self.failure = failure",
          "a body that breaks off leaves the app waiting", DUPLEX),
    # connection.py
    Fault("proxy/connection.py", "            exchange.keep_alive = False\n            self._stream.abort()", "            exchange.keep_alive = False",
          "a broken answer ends cleanly", ("tests/properties/test_exchanges.py",)),
    Fault("proxy/connection.py", "            if not exchange.body.done:\n                exchange.keep_alive = False\n", "",
          "after a refusal the body is read as the next request", DUPLEX),
    # tunnel.py
    Fault("proxy/tunnel.py", "            self._sink.end()", "            pass", "a FIN does not go on", TUNNEL),
    Fault("proxy/tunnel.py", "        except (StreamClosed, OSError, TimedOut):  # whoever", "        except TimedOut:  # whoever",
          "one side breaks and the other stays", TUNNEL),
    Fault("proxy/tunnel.py", "                data = data[self._sink.sent - before :]", "                pass",
          "bytes are sent twice after a stall", TUNNEL),
    Fault("proxy/tunnel.py", "                if self._tunnel.is_idle():\n                    raise\n            else:\n                self._tunnel.moved = self._source.now()\n                self._more = len(data) >= LARGE\n                return data",
          "                raise\n            else:\n                self._tunnel.moved = self._source.now()\n                self._more = len(data) >= LARGE\n                return data",
          "a tunnel ends though its other direction moves", TUNNEL),
    Fault("proxy/forward.py", "        if self.upload is not None and not self.upload.done:\n            raise _upgrade_failed", "        if False:\n            raise _upgrade_failed",
          "101 in the middle of a body", TUNNEL),
    Fault("proxy/forward.py", "        if not is_offered(self.request.upgrade, response.fields):", "        if False:",
          "an app switches to what nobody asked for", TUNNEL),
    # streams.py
    Fault("proxy/streams.py", "        if room <= 0:\n            self._stop_reading()\n            return", "        if room <= 0:\n            return",
          "an unread byte spins the worker", STREAMS),
    Fault("proxy/streams.py", "            self._ended = True\n        self._stop_reading()\n", "            self._ended = True\n",
          "a half-closed peer spins the worker", STREAMS),
    Fault("proxy/streams.py", "            if self._write_watcher is not None:\n                self._write_watcher.stop()\n        if pace",
          "            pass\n        if pace", "a writer that went on spins the worker", STREAMS),
    Fault("proxy/streams.py", "        if self._ended or self._failure is not None:\n            callback()", "        pass", "who has gone before is never noticed", STREAMS),
    Fault("proxy/streams.py", "        if not self._reading:\n            self._start_reading()\n        try", "        try",
          "a stopped watcher is never started again", STREAMS),
    Fault("proxy/streams.py", "        later = min(self._read_deadline, self._write_deadline)", "        later = NEVER",
          "a deadline that moved is forgotten", STREAMS),
    Fault("proxy/streams.py", "        return not self._turns\n", "        return False\n",
          "one busy stream keeps all others waiting", STREAMS),
    Fault("proxy/forward.py", "        self.app.resume()\n", "", "after a spliced answer the app's end is not noticed",
          ("tests/properties/test_over_sockets.py",)),
    Fault("proxy/forward.py", "or self._body_is_late():", "or False:", "the app is blamed for a client's silence", DUPLEX),
    Fault("proxy/connection.py", '            exchange.request.lines = b""', '            pass',
          "Max-Forwards never ends on the quick lane", DUPLEX),
    # backend.py
    Fault("proxy/backend.py", "            if since > oldest and stream.is_still_quiet():", "            if since > oldest and stream.quiet:",
          "an answer that came too early answers the next request", BACKEND),
    Fault("proxy/backend.py", "        if self.withdrawn or not stream.quiet:", "        if not stream.quiet:",
          "connections of a generation that went are kept", BACKEND),
    Fault("proxy/backend.py", "            if not generation.withdrawn:  # it may", "            if True:  # it may",
          "a waiter is sent to a generation that went meanwhile", BACKEND),
    Fault("proxy/backend.py", "        if generation.withdrawn and generation.in_flight == 0:", "        if generation.withdrawn:",
          "a generation is drained while a request runs", BACKEND),
    Fault("proxy/backend.py", "        if not self._waiting:\n            self._ask()", "        self._ask()",
          "the keeper is asked once a request", BACKEND),
    # modules
    Fault("proxy/pipeline.py", "            raise _failed(f\"the module {name} failed\") from error", "            return None",
          "a request gets past a module that failed", MODULES),
    Fault("proxy/pipeline.py", '        raise _failed(f"{type(answer).__name__} is no answer")', "        continue",
          "a module that answers nonsense lets the request through", MODULES),
    Fault("proxy/pipeline.py", "visit.responders = [*chain.responses, *visit.responders]", "visit.responders = [*visit.responders, *chain.responses]",
          "answers pass the modules in the wrong order", MODULES),
    Fault("proxy/editable.py", "        if self._shared:\n            self.fields", "        if False:\n            self.fields",
          "what a module says of one request is said of all that look alike", MODULES),
    Fault("proxy/editable.py", "            self.lines = b\"\"", "            pass", "a field that a module removed still crosses", MODULES),
    Fault("proxy/editable.py", "    if not may_be_changed(field[0]):", "    if False:", "a module frames the message", MODULES),
    Fault("proxy/editable.py", "    if not _VALUE.fullmatch(field[1]):", "    if False:", "a module's value ends its line", MODULES),
    Fault("proxy/answering.py", "    exchange.keep_alive = exchange.keep_alive and exchange.body.done\n", "",
          "the rest of a body is read as the next request", MODULES),
    Fault("proxy/held_body.py", "    request.framing, request.length = Framing.LENGTH, len(data)", "    pass",
          "a body that was read goes on in a framing that it no longer has", MODULES),
    Fault("proxy/held_body.py", "            if len(held) > limit:", "            if False:", "a module holds a body without end", MODULES),
)  # fmt: skip
