// What the browser keeps: conversations with their media in IndexedDB, small choices in localStorage.
//
// A conversation's record is small and its messages lie apart, so that the list of conversations reads no media
// and an answer that grows writes itself alone.

const NAME = "sensorium";

export function recall(key) {
  try {
    return JSON.parse(localStorage.getItem(`${NAME}.${key}`));
  } catch {
    return null;
  }
}

export function remember(key, value) {
  try {
    if (value == null) localStorage.removeItem(`${NAME}.${key}`);
    else localStorage.setItem(`${NAME}.${key}`, JSON.stringify(value));
  } catch {
    // A browser that keeps nothing still lets one talk.
  }
}

const done = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

let opened;

function database() {
  opened ??= (() => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("conversations", { keyPath: "id" });
      request.result.createObjectStore("messages", { keyPath: "id" }).createIndex("conversation", "conversation");
    };
    return done(request);
  })();
  return opened;
}

async function stores(mode) {
  const transaction = (await database()).transaction(["conversations", "messages"], mode);
  return [transaction.objectStore("conversations"), transaction.objectStore("messages")];
}

/** All conversations without their messages, the newest first. */
export async function listConversations() {
  const [conversations] = await stores("readonly");
  return (await done(conversations.getAll())).sort((a, b) => b.updated - a.updated);
}

/** A conversation with a map of its messages, in the order in which they were written. */
export async function loadConversation(id) {
  const [conversations, messages] = await stores("readonly");
  const [conversation, all] = await Promise.all([
    done(conversations.get(id)),
    done(messages.index("conversation").getAll(id)),
  ]);
  if (!conversation) return null;
  all.sort((a, b) => a.created - b.created);
  return { ...conversation, messages: new Map(all.map((message) => [message.id, message])) };
}

export async function saveConversation({ messages, ...conversation }) {
  const [conversations] = await stores("readwrite");
  await done(conversations.put(conversation));
}

export async function saveMessage(message) {
  const [, messages] = await stores("readwrite");
  await done(messages.put(message));
}

export async function removeMessage(id) {
  const [, messages] = await stores("readwrite");
  await done(messages.delete(id));
}

export async function removeConversation(id) {
  const [conversations, messages] = await stores("readwrite");
  const keys = await done(messages.index("conversation").getAllKeys(id));
  await Promise.all([done(conversations.delete(id)), ...keys.map((key) => done(messages.delete(key)))]);
}

/** Puts a removed conversation back. */
export async function restoreConversation(conversation) {
  await saveConversation(conversation);
  await Promise.all([...conversation.messages.values()].map(saveMessage));
}
