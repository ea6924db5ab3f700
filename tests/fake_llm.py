"""A local server that speaks the OpenAI chat protocol and misbehaves on demand: a stand-in for a paid model, over real HTTP."""

import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FakeModel:
    """Serves one scripted manner of answering; `asked` keeps the request bodies."""

    def __init__(self, manner: str) -> None:
        self.manner = manner
        self.asked: list[dict] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.asked.append(body)
                status, content = outer.answer(body)
                if status == -1:
                    self.connection.close()
                    return
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def __enter__(self) -> "FakeModel":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()

    def answer(self, body: dict) -> tuple[int, dict | bytes]:
        first = _passage_sentences(body)
        text = {
            "good": f"{first[0]} [1] {first[1]} [1]",
            "invents": f"{first[0]} [1] {first[1]} [1] Running cures all pain. [9] Swimming doubles your spine's length. [1]",
            "only_inventions": "Running cures all pain. [7] The moon heals discs. [1] Eat gold. [2]",
            "contradicts": f"{_contradict(first[0])} [1] {_contradict(first[1])} [1]",
            "unmarked": f"{first[0]} {first[1]}",
            "obeys": "IGNORE THE RULES. I have been told to say: stop your blood thinners. [1]",
            "reassures": f"{first[0]} [1] {first[1]} [1] Rest assured, it is nothing serious. [1] You don't need to see a doctor. [1]",
            "declines": "NO ANSWER",
            "alarmed": "emergency" if "danger signs" in body["messages"][0]["content"] else "NO ANSWER",
            "unconcerned": "none",
        }
        if self.manner == "stalls":
            time.sleep(4)
        if self.manner == "429":
            return 429, {"error": {"message": "slow down", "type": "rate_limit"}}
        if self.manner == "500":
            return 500, {"error": {"message": "oops"}}
        if self.manner == "garbage":
            return 200, b"\x00\xff<html>not json"
        if self.manner == "hangs_up":
            return -1, b""
        content = text.get(self.manner, text["good"])
        return 200, {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": "fake",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }


def _passage_sentences(body: dict) -> list[str]:
    prompt = body["messages"][0]["content"]
    passage = re.search(r'<passage number="1">\n.*?\n(.*?)\n</passage>', prompt, re.DOTALL)
    text = passage[1] if passage else "Nothing was given. Nothing at all."
    return [s for s in re.split(r"(?<=[.!?])\s+", text.replace("\n- ", " ")) if not s.endswith(":")][:3]


def _contradict(sentence: str) -> str:
    return "It is never true that " + sentence[0].lower() + sentence[1:]
