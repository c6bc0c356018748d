// Conversations as they happen: sending, streaming answers, stopping, editing, asking again, speaking.

import * as api from "./api.js";
import { announce, toast } from "./dom.js";
import { fromBase64, fromDataUrl, partOf } from "./media.js";
import { isKnown, loadModels, modelNamed, speaker, takes } from "./models.js";
import { asked, settings, voiceOf } from "./settings.js";
import * as store from "./store.js";
import * as tree from "./tree.js";

/** The conversation that is shown. */
export let current = null;

// Answers go on while another conversation is looked at, so those under way are kept: id to `{conversation, controller}`.
const running = new Map();

// `thread`: other messages are shown; `answer(message)`: one has grown; `list`: a title or the order has changed.
const listeners = { thread() {}, answer() {}, list() {} };
export const listen = (functions) => Object.assign(listeners, functions);

export const model = () => modelNamed(current?.model);
export const answering = () => running.has(current?.id);

/** A browser may keep nothing, when it is private or full: one can still talk, and is told once. */
let keeps = true;
async function kept(promise) {
  try {
    await promise;
  } catch {
    if (keeps) toast("This browser does not keep conversations: they end with this page.");
    keeps = false;
  }
}

export function begin() {
  current = tree.newConversation(model()?.id);
  listeners.thread();
}

export async function open(id) {
  const found = running.get(id)?.conversation ?? (await store.loadConversation(id).catch(() => null));
  if (!found) return begin();
  for (const message of found.messages.values()) {
    if (message.state === "running" && !running.has(id)) message.state = "stopped";
  }
  current = found;
  listeners.thread();
}

export function choose(chosen) {
  current.model = chosen.id;
  if (current.messages.size) kept(store.saveConversation(current));
}

async function keep(conversation, message) {
  await kept(Promise.all([store.saveConversation(conversation), store.saveMessage(message)]));
  listeners.list();
}

/** Sends a message after the last one shown. */
export function send(text, attachments) {
  const parent = tree.shown(current).at(-1);
  return say(parent?.id, text, attachments);
}

/** Says it in other words, in a branch beside the old message. */
export function edit(message, text, attachments) {
  return say(message.parent, text, attachments);
}

async function say(parent, text, attachments) {
  const conversation = current;
  const message = tree.add(conversation, parent, { role: "user", text, attachments });
  conversation.title ||= text.trim().slice(0, 60) || attachments[0].name;
  keep(conversation, message);
  await answer(conversation, message);
}

/** Another answer to the same message, in a branch beside the old one; one that failed empty gives way to it. */
export function regenerate(message) {
  if (message.state === "failed" && !answerText(message)) {
    current.messages.delete(message.id);
    kept(store.removeMessage(message.id));
  }
  return answer(current, current.messages.get(message.parent));
}

export function turn(message, step) {
  tree.turn(current, message, step);
  kept(store.saveConversation(current));
  listeners.thread();
}

export function stop() {
  running.get(current?.id)?.controller.abort();
}

/** Stops whatever a conversation does, before it goes away. */
export function abandon(id) {
  running.get(id)?.controller.abort();
  running.delete(id);
}

async function answer(conversation, to) {
  if (running.has(conversation.id)) return;
  const chosen = modelNamed(conversation.model);
  const fields = { role: "assistant", text: "", images: [], sounds: [], clips: [], model: chosen?.id, state: "running" };
  const message = tree.add(conversation, to.id, fields);
  const controller = new AbortController();
  running.set(conversation.id, { conversation, controller });
  if (conversation === current) listeners.thread();
  keep(conversation, message);
  announce("Answering.");
  const grown = () => conversation === current && listeners.answer(message);
  try {
    await receive(await requestFor(conversation, to, chosen), message, controller.signal, grown);
    message.state = "done";
  } catch (error) {
    message.state = error.name === "AbortError" ? "stopped" : "failed";
    if (message.state === "failed") message.error = api.inWords(error);
  }
  if (chosen && !isKnown(chosen)) await loadModels().catch(() => {});
  const gone = !running.delete(conversation.id);
  if (gone) return;
  announce(message.error ? message.error.title : message.text || (message.state === "stopped" ? "Stopped." : "Answered."));
  keep(conversation, message);
  if (conversation === current) listeners.thread();
}

/** Takes an answer as it comes. */
async function receive(request, message, signal, grown) {
  const began = performance.now();
  let saved = began;
  const elapsed = () => (performance.now() - began) / 1000;
  for await (const { choices, usage } of api.streamChat(request, signal)) {
    if (usage) message.usage = usage;
    const { delta, finish_reason } = choices?.[0] ?? {};
    if (finish_reason) message.finish = finish_reason;
    if (take(delta, message)) message.first ??= elapsed();
    message.seconds = elapsed();
    grown();
    // A closed page loses at most a second of an answer.
    if (performance.now() - saved > 1000) {
      saved = performance.now();
      kept(store.saveMessage(message));
    }
  }
}

/** Adds what a chunk brings; whether it brought anything. */
function take(delta, message) {
  const before = message.text.length + message.images.length + message.sounds.length + message.clips.length;
  message.text += delta?.content ?? "";
  for (const part of delta?.images ?? []) message.images.push(fromDataUrl(part.image_url.url));
  for (const part of delta?.videos ?? []) message.clips.push(fromDataUrl(part.video_url.url));
  if (delta?.audio?.data) {
    const { data, format = "wav", transcript = "" } = delta.audio;
    message.sounds.push({ blob: fromBase64(data, `audio/${format}`), transcript });
  }
  return message.text.length + message.images.length + message.sounds.length + message.clips.length > before;
}

async function requestFor(conversation, to, chosen) {
  if (!chosen) throw new api.ApiError("The server has no model to talk with.", { status: 404 });
  const messages = settings.system.trim() ? [{ role: "system", content: settings.system }] : [];
  for (const message of tree.upTo(conversation, to)) {
    const content = message.role === "user" ? await contentOf(message, chosen) : answerText(message);
    // A question that got no answer goes unsaid: models expect question and answer in turn.
    if (message.role === "assistant" && !content && message.state !== "done") messages.pop();
    else messages.push({ role: message.role, content });
  }
  const stream = { stream: true, stream_options: { include_usage: true } };
  return { model: chosen.id, messages, ...stream, ...asked(chosen) };
}

const answerText = (message) => message.text || message.sounds.map((sound) => sound.transcript).join(" ");

/** What an earlier message held that this model does not take is left out; the page has said so before. */
async function contentOf({ text, attachments }, chosen) {
  const taken = attachments.filter(({ kind }) => takes(chosen, kind));
  if (!taken.length) return text;
  const parts = await Promise.all(taken.map(partOf));
  return text ? [...parts, { type: "text", text }] : parts;
}

/** Has an answer spoken; it is kept with the message. */
export async function speak(message) {
  const conversation = current;
  const voice = speaker(modelNamed(message.model));
  try {
    message.spoken = await api.speak({ model: voice.id, input: answerText(message), voice: voiceOf(voice), speed: Number(settings.speed) || 1 });
    await keep(conversation, message);
    return message.spoken;
  } catch (error) {
    const { title, advice } = api.inWords(error);
    toast(`${title} ${advice}`, "Try again", () => speak(message).then(() => conversation === current && listeners.thread()));
    return null;
  }
}

export async function rename(id, title) {
  const conversation = id === current?.id ? current : (running.get(id)?.conversation ?? (await store.loadConversation(id)));
  conversation.title = title;
  await kept(store.saveConversation(conversation));
  listeners.list();
}
