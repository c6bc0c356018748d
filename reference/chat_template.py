"""Published chat templates through transformers' own renderer. Writes goldens/chat_template/cases.json.

The templates `goldens/chat_template/*.jinja` are those of SmolLM2, Mistral, Llama 3.1, Qwen2.5,
Qwen3, LLaVA 1.5 and SmolVLM as their models publish them, and two of our own with the corners of
the language and of Python's methods. A case has what a template was given and either its `text` or its `error`.
"""

import datetime
import itertools
import json
from pathlib import Path

import jinja2
from transformers.utils import chat_template_utils

FOLDER = Path(__file__).resolve().parent.parent / "goldens" / "chat_template"
NOW = datetime.datetime(2026, 3, 7, 14, 5, 9)


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def say(role, content, **more):
    return {"role": role, "content": content, **more}


def parts(*parts):
    return [{"type": "image"} if part is None else {"type": "text", "text": part}
            for part in parts]


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city, <now> & later: \"it's\" °C.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Such as Zürich"},
                "days": {"type": "integer", "default": 3, "minimum": 0.5},
                "exact": {"type": "boolean", "default": True, "enum": [True, False, None]},
            },
            "required": ["city"],
        },
    },
}
PLAIN = {"type": "function", "function": {"name": "stop", "description": "Ends.",
                                          "parameters": {"type": "object", "properties": {}}}}
CALL = {"id": "abc123def", "type": "function",
        "function": {"name": "get_weather", "arguments": {"city": "Zürich", "days": 2}}}

TEXTS = {
    "one": [say("user", "Name three colours.")],
    "system": [say("system", "  Be brief. "), say("user", "  Hello there!\n")],
    "turns": [say("user", "Hi 😀"), say("assistant", " Hello! "), say("user", "<|im_end|> & \"x\""),
              say("assistant", "One\ntwo."), say("user", "And?")],
    "ended": [say("system", "S"), say("user", "Q"), say("assistant", "A")],
    "twice": [say("user", "a"), say("user", "b")],
    "tools": [say("user", "How warm is it?"),
              say("assistant", "", tool_calls=[CALL]),
              say("tool", '{"celsius": 21.5}', tool_call_id="abc123def"),
              say("assistant", "It is 21.5 °C."), say("user", "Thanks, and tomorrow?")],
    "thought": [say("user", "1+1?"), say("assistant", "<think>\nEasy.\n</think>\n\n2"),
                say("user", "2+2?"), say("assistant", "\n4", reasoning_content="\nStill easy.\n")],
    "reasoning": [say("user", "1+1?"), say("assistant", "2", reasoning="Hm.")],
}
PICTURES = {
    "picture": [say("user", parts(None, "What is this?"))],
    "pictures": [say("system", parts("Be kind.")), say("user", parts("Compare", None, "with", None)),
                 say("assistant", parts("They differ.")), say("user", parts("How?"))],
    "words": [say("user", parts("Only words.")), say("assistant", parts("Yes.", "Two."))],
}
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}

CASES = {
    "smollm2": (TEXTS, [None], [{}]),
    "mistral": (TEXTS, [None, [WEATHER, PLAIN]], [SPECIAL]),
    "llama3": (TEXTS, [None, [WEATHER]],
               [{"bos_token": "<|begin_of_text|>"},
                {"bos_token": "", "date_string": "1 May 2025", "tools_in_user_message": False}]),
    "qwen2": (TEXTS, [None, [WEATHER, PLAIN]], [{}]),
    "qwen3": (TEXTS, [None, [WEATHER]],
              [{}, {"enable_thinking": False}, {"enable_thinking": True}]),
    "llava": (PICTURES, [None], [{}]),
    "smolvlm": (PICTURES, [None], [{}]),
    "corners": (TEXTS, [None], [{}]),
    "python": ({"twice": TEXTS["twice"]}, [None], [{}]),
}


def rendered(source, messages, tools, prompted, variables):
    texts, _ = chat_template_utils.render_jinja_template(
        conversations=[messages], tools=tools, documents=None, chat_template=source,
        add_generation_prompt=prompted, **variables)
    return texts[0]


def case(name, source, conversation, messages, tools, prompted, variables):
    given = {"template": name, "conversation": conversation, "tools": tools,
             "add_generation_prompt": prompted, "variables": variables}
    try:
        return {**given, "text": rendered(source, messages, tools, prompted, variables)}
    except jinja2.exceptions.TemplateError as error:
        return {**given, "error": str(error)}


def main():
    chat_template_utils.datetime = Clock
    cases = []
    for name, (conversations, tools, variables) in CASES.items():
        source = (FOLDER / f"{name}.jinja").read_text()
        for (title, messages), tool, values, prompted in itertools.product(
                conversations.items(), tools, variables, [True, False]):
            cases.append(case(name, source, title, messages, tool, prompted, values))
    whole = {"now": int(NOW.replace(tzinfo=datetime.timezone.utc).timestamp()),
             "conversations": TEXTS | PICTURES, "cases": cases}
    path = FOLDER / "cases.json"
    path.write_text(json.dumps(whole, ensure_ascii=False, separators=(",", ":")) + "\n")
    failed = sum("error" in case for case in cases)
    print(f"goldens/chat_template: {path.stat().st_size / 1000:.0f} kB, {len(cases)} cases, "
          f"{failed} refused")


if __name__ == "__main__":
    main()
