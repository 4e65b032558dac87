"""An OpenAI-compatible server for tests, on 127.0.0.1 only, that fails in every way.

    fault_server.py --port-file FILE [--log FILE] [--fail SHARE] [--delay SECONDS] [--key KEY] …

Its answers are functions of the request's bytes, so that runs can be compared.  Every request that it
answers completely ("paid") is a line of the log: a hash of the request.  A share of the requests
fails instead, each in one way of WAYS, chosen by a counter, so that a second try may go well.  It
writes its port to the port file once it listens, and ends by itself after --lifetime seconds, or on
SIGTERM.  Python's standard library only.
"""
import argparse
import asyncio
import email.utils
import hashlib
import json
import os
import random
import signal
import socket
import struct
import time

WAYS = ["refused", "reset", "reset_midway", "slow", "429", "429_date", "429_bare", "500", "503_html", "cut_body",
        "cut_json", "cut_chunked", "html", "garbage", "error_200", "no_choices", "empty", "closed"]
RULES = ["The output is the input.", "Reverse the list.", "Double every element.\n", "  Remove the first element. ",
         "The lamp is on if there is a cube.", "Rule:\n- dax is RED\n- wif is BLUE", "", "Sort it, then keep 3."]


def parse():
    p = argparse.ArgumentParser()
    p.add_argument("--port-file", required=True)
    p.add_argument("--log")
    p.add_argument("--fail", type=float, default=0)
    p.add_argument("--ways", default=",".join(WAYS))
    p.add_argument("--delay", type=float, default=0.002, help="before each answer; the mean where it varies")
    p.add_argument("--plain", action="store_true", help="answers of one form, always after the same delay")
    p.add_argument("--key", default="", help="refuse requests with another key")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--lifetime", type=float, default=600)
    return p.parse_args()


class Server:
    def __init__(self, args):
        self.args = args
        self.ways = args.ways.split(",")
        self.rng = random.Random(args.seed)
        self.served = 0
        self.under_way = self.most = 0
        self.counts = {}
        self.log = open(args.log, "a", buffering=1) if args.log else None
        self.listening = None
        self.port = 0

    async def listen(self):
        s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", self.port))
        s.listen(1024)
        self.port = s.getsockname()[1]
        loop = asyncio.get_running_loop()
        self.listening = await loop.create_server(lambda: Connection(self), sock=s)

    async def pause_listening(self):
        """For a moment nobody listens, so that new connections are refused."""
        if self.listening is None:
            return
        self.listening.close()
        self.listening = None
        await asyncio.sleep(0.05)
        await self.listen()

    def paid(self, body):
        if self.log:
            self.log.write(hashlib.sha256(body).hexdigest() + "\n")


def usage(digest, n_prompt, n_text):
    return {"prompt_tokens": n_prompt // 4 + 3, "completion_tokens": n_text // 4 + 1 + digest[5] % 3}


def message(digest, prompt, key, plain):
    """What the model says, in one of the forms that servers have."""
    if "Rule:" in prompt or "Apply" in prompt:
        lines = [line for line in prompt.splitlines() if line.startswith("Input:")]
        text = lines[-1][7:] if lines else "on"
        if digest[1] % 4 == 0:
            text = "[%d, %d]" % (digest[2] % 10, digest[3] % 10)
    else:
        text = RULES[digest[1] % len(RULES)]
    finish, content, more = "stop", text, {}
    form = 0 if plain else digest[0] % 16
    if form == 1:
        content = [{"type": "text", "text": text[:2]}, {"type": "thinking", "thinking": "hm"},
                   {"type": "text", "text": text[2:]}]
    elif form == 2:
        more = {"reasoning_content": "First, I think about it: [9, 9, 9]."}
    elif form == 3:
        finish, content = "length", text[:3]
    elif form == 4:
        content = None
    elif form == 5:
        content, more = None, {"refusal": "I will not."}
    elif form == 6:
        content = text + " \u00e9\U0001f600 " + key
    return {"role": "assistant", "content": content, **more}, finish, text


def answer(server, body):
    request = json.loads(body)
    digest = hashlib.sha256(body).digest()
    prompt = request["messages"][-1]["content"]
    plain = server.args.plain
    choices, length = [], 0
    for i in range(request.get("n", 1)):
        d = digest if i == 0 else hashlib.sha256(digest + bytes([i])).digest()
        m, finish, text = message(d, prompt, server.args.key, plain)
        choices.append({"index": i, "message": m, "finish_reason": finish})
        length += len(text)
    if not plain and digest[6] % 2:
        choices.reverse()
    reply = {"id": digest.hex()[:12], "object": "chat.completion", "model": request["model"], "choices": choices}
    if plain or digest[4] % 8:
        reply["usage"] = usage(digest, len(prompt), length)
    return json.dumps(reply, ensure_ascii=digest[7] % 2 == 0).encode()


def response(status, body, *headers, length=None):
    head = ["HTTP/1.1 %s" % status, "Content-Type: application/json", *headers]
    head.append("Content-Length: %d" % (len(body) if length is None else length))
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


class Connection(asyncio.Protocol):
    def __init__(self, server):
        self.server = server
        self.buffer = b""
        self.busy = False
        self.open = True

    def connection_made(self, transport):
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, why):
        self.open = False
        if self.busy:
            self.server.under_way -= 1

    def data_received(self, data):
        self.buffer += data
        head, gap, rest = self.buffer.partition(b"\r\n\r\n")
        if not gap or self.busy:
            return
        headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        length = int(headers.get(b"content-length", 0))
        if len(rest) < length:
            return
        self.buffer = rest[length:]
        self.busy = True
        s = self.server
        s.under_way += 1
        s.most = max(s.most, s.under_way)
        sent = [v for line in head.split(b"\r\n") for k, _, v in [line.partition(b": ")] if k.lower() == b"authorization"]
        self.handle(rest[:length], sent[0].decode() if sent else "")

    def handle(self, body, key):
        s, a = self.server, self.server.args
        if a.key and key != "Bearer " + a.key:
            self.send(response("401 Unauthorized", json.dumps({"error": {"message": "Incorrect key " + key}}).encode()))
            return
        s.served += 1
        delay = a.delay if a.plain else a.delay * 2 * s.rng.random()
        way = None
        if s.rng.random() < a.fail:
            way = s.ways[s.served % len(s.ways)]
            s.counts[way] = s.counts.get(way, 0) + 1
        loop = asyncio.get_running_loop()
        if way == "slow":
            return  # until the client has had enough
        loop.call_later(delay, self.fail if way else self.succeed, *((way, body) if way else (body,)))

    def send(self, data, close=False):
        if not self.open:
            return
        self.busy = False
        self.server.under_way -= 1
        self.transport.write(data)
        if close:
            self.transport.close()

    def succeed(self, body):
        if not self.open:
            return
        reply = response("200 OK", answer(self.server, body))
        self.server.paid(body)
        self.send(reply)

    def reset(self):
        if self.open:
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()

    def fail(self, way, body):
        whole = answer(self.server, body)
        quoted = json.dumps({"error": {"message": "overloaded (%s)" % self.server.args.key}}).encode()
        if not self.open:
            return
        if way == "refused":
            asyncio.ensure_future(self.server.pause_listening())
            self.reset()
        elif way == "reset":
            self.reset()
        elif way == "reset_midway":
            self.transport.write(response("200 OK", whole)[:60])
            asyncio.get_running_loop().call_later(0.01, self.reset)
        elif way == "429":
            self.send(response("429 Too Many Requests", quoted, "Retry-After: 1"))
        elif way == "429_date":
            date = email.utils.formatdate(time.time() + 1, usegmt=True)
            self.send(response("429 Too Many Requests", quoted, "Retry-After: " + date))
        elif way == "429_bare":
            self.send(response("429 Too Many Requests", b""))
        elif way == "500":
            self.send(response("500 Internal Server Error", quoted))
        elif way == "503_html":
            self.send(response("503 Service Unavailable", b"<html><h1>503</h1></html>"), close=True)
        elif way == "cut_body":
            self.send(response("200 OK", whole[:len(whole) // 2], length=len(whole)), close=True)
        elif way == "cut_json":
            self.send(response("200 OK", whole[:len(whole) * 2 // 3]))
        elif way == "cut_chunked":
            self.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n" + whole[:16] + b"\r\n", close=True)
        elif way == "html":
            self.send(response("200 OK", b"<!doctype html><title>Sign in</title>"))
        elif way == "garbage":
            self.send(response("200 OK", bytes(self.server.rng.randrange(256) for _ in range(200))))
        elif way == "error_200":
            self.send(response("200 OK", quoted))
        elif way == "no_choices":
            self.send(response("200 OK", b'{"id": "x", "choices": [], "usage": {"prompt_tokens": 4}}'))
        elif way == "empty":
            self.send(response("200 OK", b""))
        else:  # closed: the connection ends without a word
            self.send(b"", close=True)


async def main():
    args = parse()
    server = Server(args)
    await server.listen()
    with open(args.port_file + ".new", "w") as f:
        f.write("%d\n" % server.port)
    os.rename(args.port_file + ".new", args.port_file)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    try:
        await asyncio.wait_for(stop.wait(), args.lifetime)
    except asyncio.TimeoutError:
        pass
    print("served %d, at most %d at once, failed: %s" % (server.served, server.most, json.dumps(server.counts)), flush=True)
    os._exit(0)


asyncio.run(main())
