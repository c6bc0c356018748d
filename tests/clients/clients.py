"""The server through the official clients of OpenAI and ollama, unmodified.

    pip install openai ollama
    sensorium serve --port 8080 &
    python tests/clients/clients.py http://127.0.0.1:8080

Prints each call and ends with 1 if one failed. What a server with the embedded model cannot do has to answer with the
reason: those calls are counted as well.
"""

import base64
import io
import json
import sys
import wave
from pathlib import Path

import ollama
import openai

base = sys.argv[1]
key = sys.argv[2] if len(sys.argv) > 2 else "none"
pictures = Path(__file__).resolve().parents[2] / "examples/pictures"
png = (pictures / "scene.png").read_bytes()
url = "data:image/png;base64," + base64.b64encode(png).decode()
client = openai.OpenAI(base_url=base + "/v1", api_key=key, max_retries=0)
llama = ollama.Client(host=base)
question = "what colour is the circle?"
asked = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": question}]}]
calls, failures = [], []


def call(work):
    calls.append(work)
    return work


def refused(work, kind, code):
    try:
        work()
    except kind as error:
        assert error.code == code, f"{error.code}: {error}"
        return
    raise AssertionError(f"expected {code}, got an answer")


def has_red(text):
    assert "red" in text, text


@call
def models_list():
    assert [model.id for model in client.models.list()] == ["nano"]


@call
def models_retrieve():
    assert client.models.retrieve("nano").owned_by == "sensorium"


@call
def chat():
    answer = client.chat.completions.create(model="nano", messages=asked)
    has_red(answer.choices[0].message.content)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


@call
def chat_stream():
    stream = client.chat.completions.create(model="nano", messages=asked, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    has_red("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices))
    assert chunks[-1].usage.completion_tokens > 0


@call
def chat_helper_stream():
    with client.chat.completions.stream(model="nano", messages=asked) as stream:
        for _ in stream:
            pass
        has_red(stream.get_final_completion().choices[0].message.content)


@call
def chat_options():
    answer = client.chat.completions.create(
        model="nano", messages=asked, n=2, seed=1, temperature=0.5, top_p=0.9, stop=["."], max_completion_tokens=16,
        presence_penalty=0.1, frequency_penalty=0.1, logit_bias={"5": -1}, logprobs=True, top_logprobs=3, user="me",
    )
    assert len(answer.choices) == 2
    assert len(answer.choices[0].logprobs.content[0].top_logprobs) == 3


@call
def chat_conversation():
    messages = [{"role": "developer", "content": "be brief"}, *asked, {"role": "assistant", "content": "red"},
                {"role": "user", "content": "how many things are there?"}]
    assert client.chat.completions.create(model="nano", messages=messages).choices[0].message.content


@call
def chat_schema():
    schema = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"], "additionalProperties": False}
    answer = client.chat.completions.create(
        model="nano", messages=asked,
        response_format={"type": "json_schema", "json_schema": {"name": "c", "schema": schema, "strict": True}},
    )
    assert json.loads(answer.choices[0].message.content)["colour"] in ["red", "blue"]


@call
def chat_parse():
    from typing import Literal

    import pydantic

    class Colour(pydantic.BaseModel):
        colour: Literal["red", "green"]

    answer = client.chat.completions.parse(model="nano", messages=asked, response_format=Colour)
    assert isinstance(answer.choices[0].message.parsed, Colour)


tool = {"type": "function", "function": {"name": "paint", "description": "paints", "strict": True, "parameters": {
    "type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"], "additionalProperties": False}}}


@call
def chat_tools():
    answer = client.chat.completions.create(model="nano", messages=asked, tools=[tool], tool_choice="required")
    [made] = answer.choices[0].message.tool_calls
    assert made.function.name == "paint" and json.loads(made.function.arguments)["colour"]
    messages = [*asked, answer.choices[0].message.model_dump(exclude_none=True),
                {"role": "tool", "tool_call_id": made.id, "content": "painted"}]
    assert client.chat.completions.create(model="nano", messages=messages, tools=[tool], tool_choice="none").choices


@call
def chat_tools_stream():
    choice = {"type": "function", "function": {"name": "paint"}}
    stream = client.chat.completions.create(model="nano", messages=asked, tools=[tool], tool_choice=choice, stream=True)
    made = [c for chunk in stream for choice in chunk.choices for c in choice.delta.tool_calls or []]
    assert json.loads("".join(c.function.arguments for c in made))["colour"]


def silence(seconds=1):
    out = io.BytesIO()
    with wave.open(out, "wb") as sound:
        sound.setnchannels(1), sound.setsampwidth(2), sound.setframerate(16000)
        sound.writeframes(b"\0\0" * 16000 * seconds)
    return out.getvalue()


@call
def chat_audio_in():
    part = {"type": "input_audio", "input_audio": {"data": base64.b64encode(silence()).decode(), "format": "wav"}}
    messages = [{"role": "user", "content": [part, {"type": "text", "text": "what do you hear?"}]}]
    answer = client.chat.completions.create(model="nano", messages=messages)
    assert answer.usage.prompt_tokens_details.audio_tokens > 0


@call
def chat_audio_out():
    answer = client.chat.completions.create(
        model="nano", messages=asked, modalities=["text", "audio"], audio={"voice": "alloy", "format": "wav"})
    audio = answer.choices[0].message.audio
    assert base64.b64decode(audio.data).startswith(b"RIFF") and "red" in audio.transcript


@call
def chat_table():
    data = "data:text/csv;base64," + base64.b64encode(b"age,income\n35,2000\n").decode()
    part = {"type": "file", "file": {"file_data": data, "filename": "t.csv"}}
    messages = [{"role": "user", "content": [part, {"type": "text", "text": "how old?"}]}]
    assert client.chat.completions.create(model="nano", messages=messages).choices[0].message.content is not None


@call
def completions():
    answer = client.completions.create(model="nano", prompt="a red", max_tokens=4, echo=True, logprobs=2)
    assert answer.choices[0].text.startswith("a red")


@call
def completions_stream():
    stream = client.completions.create(model="nano", prompt="a red", max_tokens=4, stream=True)
    assert [chunk.choices[0].finish_reason for chunk in stream][-1] in ["stop", "length"]


@call
def responses():
    content = [{"type": "input_image", "image_url": url, "detail": "auto"}, {"type": "input_text", "text": question}]
    first = client.responses.create(model="nano", input=[{"role": "user", "content": content}])
    has_red(first.output_text)
    second = client.responses.create(model="nano", input="and the star?", previous_response_id=first.id)
    assert second.usage.input_tokens > first.usage.input_tokens
    has_red(client.responses.retrieve(first.id).output_text)
    client.responses.delete(first.id)
    try:
        client.responses.retrieve(first.id)
        raise AssertionError("expected 404")
    except openai.NotFoundError:
        pass


@call
def responses_stream():
    with client.responses.stream(model="nano", input="hello", instructions="be brief") as stream:
        kinds = [event.type for event in stream]
        assert kinds[0] == "response.created" and kinds[-1] == "response.completed", kinds
        assert stream.get_final_response().status == "completed"


@call
def responses_tools():
    flat = {"type": "function", "name": "paint", "parameters": tool["function"]["parameters"], "strict": True}
    answer = client.responses.create(model="nano", input="paint it", tools=[flat], tool_choice="required")
    [made] = [item for item in answer.output if item.type == "function_call"]
    assert made.name == "paint"


@call
def embeddings():
    both = client.embeddings.create(model="nano", input=["a red circle", "a blue star"])
    one = client.embeddings.create(model="nano", input="a red circle", encoding_format="float")
    assert max(abs(a - b) for a, b in zip(both.data[0].embedding, one.data[0].embedding)) < 1e-6
    assert len(both.data) == 2


@call
def speech():
    answer = client.audio.speech.create(model="nano", voice="alloy", input="hello world", response_format="wav")
    assert answer.read().startswith(b"RIFF")


@call
def speech_stream():
    with client.audio.speech.with_streaming_response.create(model="nano", voice="slt", input="hello", response_format="pcm") as answer:
        assert sum(map(len, answer.iter_bytes())) > 1000


@call
def transcriptions_are_refused():
    sound = ("a.wav", silence())
    refused(lambda: client.audio.transcriptions.create(model="nano", file=sound), openai.BadRequestError, "modality_not_supported")
    refused(lambda: client.audio.translations.create(model="nano", file=sound), openai.BadRequestError, "modality_not_supported")


@call
def images():
    makes = "make" in client.models.retrieve("nano").model_dump().get("capabilities", [])
    work = lambda: client.images.generate(model="nano", prompt="a red circle", n=2)
    if not makes:
        return refused(work, openai.BadRequestError, "modality_not_supported")
    answer = work()
    assert len(answer.data) == 2 and base64.b64decode(answer.data[0].b64_json).startswith(b"\x89PNG")


@call
def image_edits():
    work = lambda mask: client.images.edit(model="nano", image=("a.png", png), prompt="make it blue", **mask)
    refused(lambda: work({"mask": ("m.png", png)}), openai.BadRequestError, "invalid_value")
    if "image" not in client.models.retrieve("nano").model_dump()["architecture"]["output_modalities"]:
        return refused(lambda: work({}), openai.BadRequestError, "modality_not_supported")
    assert work({}).data[0].b64_json


@call
def files():
    sent = client.files.create(file=("t.csv", b"a,b\n1,2\n"), purpose="user_data")
    assert client.files.content(sent.id).read() == b"a,b\n1,2\n"
    assert sent.id in [file.id for file in client.files.list()]
    part = {"type": "file", "file": {"file_id": sent.id}}
    messages = [{"role": "user", "content": [part, {"type": "text", "text": "what is a?"}]}]
    assert client.chat.completions.create(model="nano", messages=messages).choices
    assert client.files.delete(sent.id).deleted


@call
def errors():
    refused(lambda: client.chat.completions.create(model="gpt-9", messages=asked), openai.NotFoundError, "model_not_found")
    refused(lambda: client.chat.completions.create(model="nano", messages=asked, temperature=-1), openai.BadRequestError, "invalid_value")
    remote = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]}]
    refused(lambda: client.chat.completions.create(model="nano", messages=remote), openai.BadRequestError, "fetch_refused")


@call
def ollama_chat():
    message = {"role": "user", "content": question, "images": [png]}
    has_red(llama.chat(model="nano", messages=[message]).message.content)
    parts = list(llama.chat(model="nano", messages=[message], stream=True))
    has_red("".join(part.message.content for part in parts))
    assert parts[-1].done and parts[-1].eval_count > 0


@call
def ollama_chat_tools():
    answer = llama.chat(model="nano", messages=[{"role": "user", "content": "hello"}], tools=[tool])
    assert answer.message.content is not None


@call
def ollama_generate():
    has_red(llama.generate(model="nano", prompt=question, images=[png], options={"num_predict": 8, "seed": 1}).response)
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2, 3]}}, "required": ["n"], "additionalProperties": False}
    assert "n" in json.loads(llama.generate(model="nano", prompt="how many?", format=schema).response)


@call
def ollama_embed():
    assert len(llama.embed(model="nano", input=["a", "b"]).embeddings) == 2


@call
def ollama_lists():
    assert llama.list().models[0].model == "nano"
    assert llama.ps().models[0].model == "nano"
    assert "vision" in llama.show("nano").capabilities


@call
def ollama_errors():
    try:
        llama.chat(model="nobody", messages=[])
        raise AssertionError("expected an error")
    except ollama.ResponseError as error:
        assert error.status_code == 404, error


for work in calls:
    try:
        work()
        print(f"ok      {work.__name__}")
    except Exception as error:  # each call's fault is told, whatever it is
        failures.append(work.__name__)
        print(f"FAILED  {work.__name__}: {type(error).__name__}: {str(error)[:300]}")
print(f"{len(calls) - len(failures)} of {len(calls)} calls")
sys.exit(bool(failures))
