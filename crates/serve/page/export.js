// A conversation as a file: JSON with every branch and medium, or Markdown of what is shown.

import { save } from "./dom.js";
import { dataUrl, KINDS } from "./media.js";
import { shown } from "./tree.js";

const fileName = (conversation, end) => `${conversation.title.replace(/[^\p{L}\p{N} -]/gu, "").trim() || "conversation"}.${end}`;

export async function exportJson(conversation) {
  const plain = await withoutBlobs({ ...conversation, messages: [...conversation.messages.values()] });
  save(new Blob([JSON.stringify(plain, null, 2)], { type: "application/json" }), fileName(conversation, "json"));
}

/** The same value with data: addresses in the place of blobs. */
async function withoutBlobs(value) {
  if (value instanceof Blob) return dataUrl(value);
  if (Array.isArray(value)) return Promise.all(value.map(withoutBlobs));
  if (value === null || typeof value !== "object") return value;
  const entries = await Promise.all(Object.entries(value).map(async ([key, inner]) => [key, await withoutBlobs(inner)]));
  return Object.fromEntries(entries);
}

export async function exportMarkdown(conversation) {
  const parts = [`# ${conversation.title || "Conversation"}`];
  for (const message of shown(conversation)) {
    parts.push(`## ${message.role === "user" ? "You" : message.model}`);
    for (const { kind, name, type, blob } of message.attachments ?? []) {
      parts.push(kind === "image" ? `![${name}](${await dataUrl(blob, type)})` : `*${KINDS[kind].one}: ${name}*`);
    }
    if (message.text) parts.push(message.text);
    for (const blob of [...(message.images ?? []), ...(message.clips ?? [])]) {
      parts.push(blob.type.startsWith("image/") ? `![picture](${await dataUrl(blob)})` : "*video*");
    }
    for (const { transcript } of message.sounds ?? []) parts.push(transcript && transcript !== message.text ? `*sound: ${transcript}*` : "*sound*");
    if (message.error) parts.push(`*${message.error.title}*`);
  }
  save(new Blob([`${parts.join("\n\n")}\n`], { type: "text/markdown" }), fileName(conversation, "md"));
}
