"""Asks an endpoint as an agent does: question, call, result of a real function, answer; with OpenAI's client and with
LangChain's agent. Runs in an environment of those clients.

`python agent_clients.py URL KEY MODEL` prints what came as JSON.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

SYSTEM = "You are an assistant with tools."
QUESTIONS = {"room_humidity": "How humid is the kitchen?", "train_delay": "How late is train 315?"}
STEPS = 4
"""Answers of the model to one question, at most."""


def room_humidity(room: str) -> str:
    """Humidity of a room in percent.

    Args:
        room: Name of the room.
    """
    return json.dumps({"percent": len(room) + 57})


def train_delay(number: int) -> str:
    """Delay of a train in minutes.

    Args:
        number: Number of the train.
    """
    return json.dumps({"minutes": number % 100 + 2})


FUNCTIONS: dict[str, Callable[..., str]] = {"room_humidity": room_humidity, "train_delay": train_delay}
PARAMETERS = {"room_humidity": ("room", "string", "Name of the room."),
              "train_delay": ("number", "integer", "Number of the train.")}  # fmt: skip


def openai_tool(name: str) -> dict[str, Any]:
    """Returns a function in OpenAI's form."""
    key, kind, description = PARAMETERS[name]
    schema = {"type": "object", "properties": {key: {"type": kind, "description": description}}, "required": [key]}
    about = (FUNCTIONS[name].__doc__ or "").partition("\n")[0]
    return {"type": "function", "function": {"name": name, "description": about, "parameters": schema}}


def ask_openai(url: str, key: str, model: str, question: str) -> dict[str, Any]:
    """Returns the calls that the model made, and its last answer."""
    from openai import OpenAI

    client: Any = OpenAI(base_url=url, api_key=key, max_retries=0, timeout=600)
    tools = [openai_tool(name) for name in FUNCTIONS]
    messages: list[Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
    calls: list[list[Any]] = []
    for _ in range(STEPS):
        answer = client.chat.completions.create(
            model=model, messages=messages, tools=tools, temperature=0, max_tokens=128
        )
        message = answer.choices[0].message
        messages.append(message)
        if not message.tool_calls:
            break
        for call in message.tool_calls:
            arguments = json.loads(call.function.arguments)
            calls.append([call.function.name, arguments])
            result = FUNCTIONS[call.function.name](**arguments)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    return {"calls": calls, "answer": messages[-1].content}


def ask_langchain(url: str, key: str, model: str, question: str) -> dict[str, Any]:
    """Returns the same of LangChain's agent, which calls the functions itself."""
    from langchain.agents import create_agent  # pyright: ignore[reportMissingImports]
    from langchain_core.tools import tool  # pyright: ignore[reportMissingImports]
    from langchain_openai import ChatOpenAI  # pyright: ignore[reportMissingImports]

    chat = ChatOpenAI(base_url=url, api_key=key, model=model, temperature=0, max_tokens=128, max_retries=0, timeout=600)
    tools = [tool(function, parse_docstring=True) for function in FUNCTIONS.values()]
    agent = create_agent(chat, tools, system_prompt=SYSTEM)
    asked = {"messages": [{"role": "user", "content": question}]}
    messages = agent.invoke(asked, {"recursion_limit": 2 * STEPS})["messages"]
    calls = [[call["name"], call["args"]] for message in messages for call in getattr(message, "tool_calls", ())]
    return {"calls": calls, "answer": messages[-1].content}


if __name__ == "__main__":
    where = sys.argv[1], sys.argv[2], sys.argv[3]
    asking = {"openai": ask_openai, "langchain": ask_langchain}
    found = {who: {name: ask(*where, question) for name, question in QUESTIONS.items()} for who, ask in asking.items()}
    print(json.dumps(found))
