// What the server offers over HTTP. Addresses are relative to this page's own origin, and to no other.

import { recall, remember } from "./store.js";

/** What the server, or the way to it, said instead of an answer. */
export class ApiError extends Error {
  constructor(message, { status = 0, code = null, retryAfter = null } = {}) {
    super(message);
    Object.assign(this, { status, code, retryAfter });
  }
}

export const apiKey = () => recall("key") ?? "";
export const setApiKey = (key) => remember("key", key.trim() || null);

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (apiKey()) headers.Authorization = `Bearer ${apiKey()}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server cannot be reached.", { code: "unreachable" });
  }
  if (response.ok) return response;
  const told = await response.json().then((body) => body.error, () => null);
  throw new ApiError(told?.message ?? `The server answered ${response.status}.`, {
    status: response.status,
    code: told?.code ?? null,
    retryAfter: Number(response.headers.get("Retry-After")) || null,
  });
}

const json = (body, signal) => ({
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body),
  signal,
});

export async function listModels() {
  const response = await ask("/v1/models");
  return (await response.json()).data;
}

/** The chunks of an answer as they come. Aborting the signal stops the server's work too. */
export async function* streamChat(body, signal) {
  const response = await ask("/v1/chat/completions", json(body, signal));
  for await (const data of eventsOf(response.body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ApiError(chunk.error.message, { code: "cut" });
    yield chunk;
  }
  throw new ApiError("The connection ended too early.", { code: "cut" });
}

/** The `data:` of server-sent events; comments, which keep the connection open, are passed over. */
async function* eventsOf(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read().catch((error) => {
      if (error.name === "AbortError") throw error;
      throw new ApiError("The connection broke.", { code: "cut" });
    });
    if (done) return;
    const lines = (rest + value).split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data:")) yield line.slice(5).trim();
    }
  }
}

export async function speak(body) {
  const response = await ask("/v1/audio/speech", json({ ...body, response_format: "wav" }));
  return response.blob();
}

export async function transcribe(blob, name, model) {
  const body = new FormData();
  body.append("file", blob, name);
  body.append("model", model);
  const response = await ask("/v1/audio/transcriptions", { method: "POST", body });
  return (await response.json()).text.trim();
}

/** An error in words for the one who reads it: what happened, what to do, and whether a key would help. */
export function inWords(error) {
  if (!(error instanceof ApiError)) return { title: "Something in this page went wrong.", advice: String(error.message) };
  const said = error.message;
  switch (error.code === "unreachable" ? "unreachable" : error.status) {
    case "unreachable":
      return { title: said, advice: "Is it still running on this machine? Your message is kept." };
    case 401:
      return { title: "This server asks for an API key.", advice: said, needsKey: true };
    case 404:
      return { title: "The server does not have this.", advice: said };
    case 413:
      return { title: "That is too large for the server.", advice: said };
    case 429: {
      const wait = error.retryAfter;
      const seconds = wait === 1 ? "a second" : `${wait} seconds`;
      return { title: "The server is busy with others.", advice: wait ? `It asks to wait ${seconds}.` : said, wait };
    }
    default:
      if (error.code === "cut") return { title: "The answer broke off.", advice: said };
      if (error.status >= 500) return { title: "The server failed to answer.", advice: said };
      return { title: "The server could not answer this.", advice: said };
  }
}
