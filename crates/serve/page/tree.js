// A conversation is a tree: an edited message or another answer stands beside the old one, as a branch.
// `chosen` tells which child of a message is shown; the root is called "root".

export function newConversation(model) {
  const now = Date.now();
  return { id: crypto.randomUUID?.() ?? `${now}-${Math.random()}`, title: "", model, created: now, updated: now, chosen: {}, messages: new Map() };
}

const under = (message) => message?.parent ?? "root";

function children(conversation, parent) {
  return [...conversation.messages.values()].filter((message) => under(message) === parent);
}

/** The messages that are shown, from the first to the last. */
export function shown(conversation) {
  const path = [];
  for (let parent = "root"; ; ) {
    const all = children(conversation, parent);
    if (!all.length) return path;
    const next = all.find((message) => message.id === conversation.chosen[parent]) ?? all.at(-1);
    path.push(next);
    parent = next.id;
  }
}

/** The messages up to and with `message`, from the first. */
export function upTo(conversation, message) {
  const path = [];
  for (let at = message; at; at = conversation.messages.get(at.parent)) path.unshift(at);
  return path;
}

/** Adds a message under `parent` (null: at the beginning) and shows it. */
export function add(conversation, parent, fields) {
  // Times order the messages, so no two may be alike.
  const last = [...conversation.messages.values()].at(-1)?.created ?? 0;
  const created = Math.max(Date.now(), last + 1);
  const message = { id: `${conversation.id}/${created}`, conversation: conversation.id, parent: parent ?? null, created, ...fields };
  conversation.messages.set(message.id, message);
  conversation.chosen[under(message)] = message.id;
  conversation.updated = created;
  return message;
}

/** Where a message stands among the branches at its place: `{at, of}`, from 0. */
export function branch(conversation, message) {
  const all = children(conversation, under(message));
  return { at: all.indexOf(message), of: all.length };
}

/** Shows the branch `step` places further. */
export function turn(conversation, message, step) {
  const all = children(conversation, under(message));
  const next = all[(all.indexOf(message) + step + all.length) % all.length];
  conversation.chosen[under(message)] = next.id;
  return next;
}
