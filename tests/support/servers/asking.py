"""All questions of a conformance test, asked of a server by one contract."""

import json
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from llmops_kit.cli.chat_http import events
from tests.support.servers.serving import API_KEY
from tools.conformance.questions import QUESTIONS, Question, said, said_in_pieces

CONTRACTS = ("/v1/chat/completions", "/invocations", "/")
"""OpenAI's, SageMaker's and Azure ML's route."""


def ask_all(url: str, path: str, *, stream: bool) -> list[str]:
    """What is said to each question, all asked at once; of a refusal its status and parameter."""

    def ask(question: Question) -> str:
        headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{url}{path}", json.dumps(question | {"stream": stream}).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=600) as response:
                return said_in_pieces(events(url, response)) if stream else said(json.load(response))
        except urllib.error.HTTPError as e:
            with e:
                return f"{e.code}: {json.load(e)['error']['param']}"

    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(ask, QUESTIONS))
