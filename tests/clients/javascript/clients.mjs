// The server through the official JavaScript clients of OpenAI and ollama, unmodified.
//
//     npm install && node clients.mjs http://127.0.0.1:8080 ../../../examples/pictures/scene.png
//
// Prints each call and ends with 1 if one failed.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { Ollama } from "ollama";
import OpenAI, { toFile } from "openai";

const [base, picture] = process.argv.slice(2);
const png = await readFile(picture);
const url = `data:image/png;base64,${png.toString("base64")}`;
const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "none", maxRetries: 0 });
const llama = new Ollama({ host: base });
const question = "what colour is the circle?";
const asked = [{ role: "user", content: [{ type: "image_url", image_url: { url } }, { type: "text", text: question }] }];
const model = "nano";

const red = (text) => assert.match(text, /red/);
const refused = (work, code) => assert.rejects(work, (error) => error.code === code);

async function collect(stream) {
    const all = [];
    for await (const part of stream) all.push(part);
    return all;
}

function silence() {
    const samples = Buffer.alloc(32000), head = Buffer.alloc(44);
    head.write("RIFF"), head.writeUInt32LE(36 + samples.length, 4), head.write("WAVEfmt ", 8), head.writeUInt32LE(16, 16);
    head.writeUInt16LE(1, 20), head.writeUInt16LE(1, 22), head.writeUInt32LE(16000, 24), head.writeUInt32LE(32000, 28);
    head.writeUInt16LE(2, 32), head.writeUInt16LE(16, 34), head.write("data", 36), head.writeUInt32LE(samples.length, 40);
    return Buffer.concat([head, samples]);
}

const schema = {
    type: "object", properties: { colour: { enum: ["red", "blue"] } }, required: ["colour"], additionalProperties: false,
};
const tool = { type: "function", function: { name: "paint", strict: true, parameters: schema } };

const calls = {
    async models() {
        assert.deepEqual((await client.models.list()).data.map((one) => one.id), [model]);
        assert.equal((await client.models.retrieve(model)).owned_by, "sensorium");
    },
    async chat() {
        const answer = await client.chat.completions.create({ model, messages: asked });
        red(answer.choices[0].message.content);
    },
    async chatStream() {
        const stream = await client.chat.completions.create({
            model, messages: asked, stream: true, stream_options: { include_usage: true },
        });
        const chunks = await collect(stream);
        red(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""));
        assert(chunks.at(-1).usage.completion_tokens > 0);
    },
    async chatStreamHelper() {
        red(await client.chat.completions.stream({ model, messages: asked }).finalContent());
    },
    async chatStreamLeft() {
        const stream = await client.chat.completions.create({ model, messages: asked, stream: true });
        for await (const _ of stream) break;
    },
    async chatSchema() {
        const format = { type: "json_schema", json_schema: { name: "c", schema, strict: true } };
        const answer = await client.chat.completions.create({ model, messages: asked, response_format: format });
        assert(["red", "blue"].includes(JSON.parse(answer.choices[0].message.content).colour));
    },
    async chatTools() {
        const answer = await client.chat.completions.create({ model, messages: asked, tools: [tool], tool_choice: "required" });
        const [made] = answer.choices[0].message.tool_calls;
        assert(JSON.parse(made.function.arguments).colour);
        const messages = [...asked, answer.choices[0].message, { role: "tool", tool_call_id: made.id, content: "painted" }];
        assert((await client.chat.completions.create({ model, messages, tools: [tool], tool_choice: "none" })).choices.length);
    },
    async chatToolsRun() {
        const runner = client.chat.completions.runTools({
            model, messages: asked, tool_choice: "required",
            tools: [{ type: "function", function: { ...tool.function, parse: JSON.parse, function: ({ colour }) => colour } }],
        }, { maxChatCompletions: 1 });
        await runner.done();
        assert(runner.messages.some((message) => message.role === "tool"));
    },
    async chatAudioIn() {
        const part = { type: "input_audio", input_audio: { data: silence().toString("base64"), format: "wav" } };
        const messages = [{ role: "user", content: [part, { type: "text", text: "what do you hear?" }] }];
        assert((await client.chat.completions.create({ model, messages })).usage.prompt_tokens_details.audio_tokens > 0);
    },
    async chatAudioOut() {
        const audio = { voice: "alloy", format: "wav" };
        const answer = await client.chat.completions.create({ model, messages: asked, modalities: ["text", "audio"], audio });
        red(answer.choices[0].message.audio.transcript);
    },
    async completions() {
        const whole = await client.completions.create({ model, prompt: "a red", max_tokens: 4, echo: true });
        assert(whole.choices[0].text.startsWith("a red"));
        const parts = await collect(await client.completions.create({ model, prompt: "a red", max_tokens: 4, stream: true }));
        assert(["stop", "length"].includes(parts.at(-1).choices[0].finish_reason));
    },
    async responses() {
        const content = [{ type: "input_image", image_url: url, detail: "auto" }, { type: "input_text", text: question }];
        const first = await client.responses.create({ model, input: [{ role: "user", content }] });
        red(first.output_text);
        const second = await client.responses.create({ model, input: "and the star?", previous_response_id: first.id });
        assert(second.usage.input_tokens > first.usage.input_tokens);
        red((await client.responses.retrieve(first.id)).output_text);
        await client.responses.delete(first.id);
        await assert.rejects(client.responses.retrieve(first.id), OpenAI.NotFoundError);
    },
    async responsesStream() {
        const kinds = (await collect(client.responses.stream({ model, input: "hello" }))).map((event) => event.type);
        assert.equal(kinds[0], "response.created");
        assert.equal(kinds.at(-1), "response.completed");
    },
    async embeddings() {
        const both = await client.embeddings.create({ model, input: ["a red circle", "a blue star"] });
        const one = await client.embeddings.create({ model, input: "a red circle", encoding_format: "float" });
        assert.equal(both.data.length, 2);
        assert(both.data[0].embedding.every((x, i) => Math.abs(x - one.data[0].embedding[i]) < 1e-6));
    },
    async speech() {
        const answer = await client.audio.speech.create({ model, voice: "alloy", input: "hello", response_format: "wav" });
        assert.equal(Buffer.from(await answer.arrayBuffer()).subarray(0, 4).toString(), "RIFF");
    },
    async transcriptionsAreRefused() {
        const file = await toFile(silence(), "a.wav");
        await refused(client.audio.transcriptions.create({ model, file }), "modality_not_supported");
    },
    async imagesAreRefused() {
        await refused(client.images.generate({ model, prompt: "a red circle" }), "modality_not_supported");
    },
    async files() {
        const sent = await client.files.create({ file: await toFile(Buffer.from("a,b\n1,2\n"), "t.csv"), purpose: "user_data" });
        assert.equal(await (await client.files.content(sent.id)).text(), "a,b\n1,2\n");
        assert((await collect(client.files.list())).some((file) => file.id === sent.id));
        assert((await client.files.delete(sent.id)).deleted);
    },
    async errors() {
        await refused(client.chat.completions.create({ model: "gpt-9", messages: asked }), "model_not_found");
        await refused(client.chat.completions.create({ model, messages: asked, temperature: -1 }), "invalid_value");
    },
    async ollamaChat() {
        const messages = [{ role: "user", content: question, images: [png] }];
        red((await llama.chat({ model, messages })).message.content);
        const parts = await collect(await llama.chat({ model, messages, stream: true }));
        red(parts.map((part) => part.message.content).join(""));
        assert(parts.at(-1).done && parts.at(-1).eval_count > 0);
    },
    async ollamaGenerate() {
        red((await llama.generate({ model, prompt: question, images: [png], options: { num_predict: 8 } })).response);
        const format = { type: "object", properties: { n: { enum: [1, 2] } }, required: ["n"], additionalProperties: false };
        assert(JSON.parse((await llama.generate({ model, prompt: "how many?", format })).response).n);
    },
    async ollamaEmbed() {
        assert.equal((await llama.embed({ model, input: ["a", "b"] })).embeddings.length, 2);
    },
    async ollamaLists() {
        assert.equal((await llama.list()).models[0].model, model);
        assert.equal((await llama.ps()).models[0].model, model);
        assert((await llama.show({ model })).capabilities.includes("vision"));
    },
    async ollamaErrors() {
        await assert.rejects(llama.chat({ model: "nobody", messages: [] }), (error) => error.status_code === 404);
        await assert.rejects(llama.pull({ model: "org/name" }), (error) => error.status_code === 403);
    },
};

let failed = 0;
for (const [name, work] of Object.entries(calls)) {
    try {
        await work();
        console.log(`ok      ${name}`);
    } catch (error) {
        failed += 1;
        console.log(`FAILED  ${name}: ${String(error).slice(0, 300)}`);
    }
}
const count = Object.keys(calls).length;
console.log(`${count - failed} of ${count} calls`);
process.exit(failed ? 1 : 0);
