// Messages as they are shown, and what can be done with each.

import * as chat from "./chat.js";
import { $, clock, copy, h, icon, iconButton, toast } from "./dom.js";
import { markdown } from "./markdown.js";
import { forgetUrls } from "./media.js";
import { speaker } from "./models.js";
import { attachmentView, clip, hush, picture, sound } from "./players.js";
import { keyForm } from "./settings.js";
import * as tree from "./tree.js";

// The answer that grows: its message and how to show it anew.
let growing = null;

/** Shows the messages of the current conversation. */
export function renderThread() {
  hush();
  growing = null;
  const messages = tree.shown(chat.current);
  $("thread").replaceChildren(...messages.map(messageView));
  $("title").textContent = chat.current.title || "New conversation";
}

/** Another conversation is shown, so nothing of the last one is needed. */
export function leaveThread() {
  $("thread").replaceChildren();
  forgetUrls();
}

/** Shows more of the answer that grows, at most once a frame. */
export function renderAnswer(message) {
  if (growing?.message !== message || growing.due) return;
  growing.due = requestAnimationFrame(() => {
    if (growing?.message !== message) return;
    growing.due = null;
    growing.show();
  });
}

function messageView(message) {
  return message.role === "user" ? questionView(message) : answerView(message);
}

function questionView(message) {
  const body = h("div", { class: "bubble" }, message.attachments.length > 0 && h("div", { class: "attached" }, message.attachments.map(attachmentView)));
  if (message.text) body.append(h("p", { class: "plain" }, message.text));
  const edit = iconButton("edit", "Edit this message", () => editMessage(article, message), { "data-edit": true });
  const tools = h("div", { class: "acts" }, message.text && iconButton("copy", "Copy", () => copy(message.text)), edit, branches(message));
  const article = h("article", { class: "question", "aria-label": "You" }, body, tools);
  return article;
}

function answerView(message) {
  const text = h("div", { class: "text" });
  const media = h("div", { class: "media" });
  const article = h("article", { class: `answer ${message.state}`, "aria-label": `${message.model ?? "Answer"} answered` }, text, media);
  let shownMedia = 0;
  const show = () => {
    text.replaceChildren(...markdown(message.text));
    const views = mediaViews(message);
    media.append(...views.slice(shownMedia).map((view) => view()));
    shownMedia = views.length;
    // What still moves tells that the server is at work.
    if (message.state === "running" && !message.text && !shownMedia) text.append(h("p", { class: "waiting" }, h("i"), h("i"), h("i")));
  };
  show();
  article.setAttribute("aria-busy", message.state === "running");
  if (message.state === "running") growing = { message, show, due: null };
  else article.append(...afterwards(message, media));
  return article;
}

function mediaViews(message) {
  const which = (all, n, word) => (all.length > 1 ? `${word} ${n + 1}` : word);
  return [
    ...message.images.map((blob, n) => () => picture(blob, which(message.images, n, "picture"))),
    ...message.clips.map((blob, n) => () => clip(blob, which(message.clips, n, "video"))),
    ...message.sounds.map(({ blob, transcript }, n) => () => {
      const words = transcript && transcript.trim() !== message.text.trim() ? h("p", { class: "faint" }, transcript) : null;
      return h("div", {}, sound(blob, which(message.sounds, n, "sound")), words ?? "");
    }),
    ...(message.spoken ? [() => sound(message.spoken, "the spoken answer")] : []),
  ];
}

/** What stands below an answer that has ended: a failure, the tools, the figures. */
function afterwards(message, media) {
  const parts = [];
  if (message.error) parts.push(failure(message));
  else if (message.state === "stopped") parts.push(h("p", { class: "note" }, "Stopped."));
  else if (message.finish === "length") parts.push(h("p", { class: "note" }, "Cut off at the most tokens that an answer may have."));
  else if (!message.text && !mediaViews(message).length) parts.push(h("p", { class: "note" }, "The model said nothing."));
  const tools = [message.text && iconButton("copy", "Copy", () => copy(message.text))];
  if (message.text && !message.spoken && speaker({ capabilities: [] })) tools.push(speakButton(message, media));
  if (!message.error) tools.push(iconButton("turn", "Answer again", () => whenFree(() => chat.regenerate(message)), { "data-again": true }));
  tools.push(branches(message));
  parts.push(h("div", { class: "acts" }, tools.filter(Boolean), figures(message)));
  return parts;
}

function whenFree(act) {
  if (chat.answering()) toast("An answer is under way. Stop it first (Esc).");
  else act();
}

function speakButton(message, media) {
  const button = iconButton("speak", "Speak this answer", async () => {
    if (button.ariaBusy === "true") return;
    button.ariaBusy = "true";
    const blob = await chat.speak(message);
    button.ariaBusy = "false";
    if (!blob) return;
    const player = sound(blob, "the spoken answer", { play: true });
    media.append(player);
    player.querySelector("button").focus();
    button.remove();
  });
  return button;
}

/** Tokens and seconds of an answer. */
function figures({ model, usage, first, seconds }) {
  const said = [model];
  const tokens = usage?.completion_tokens;
  if (tokens) said.push(tokens === 1 ? "1 token" : `${tokens} tokens`);
  if (first != null) said.push(`first after ${first.toFixed(2)} s`);
  // The first token waits for the prompt, so the rate is that of the others.
  if (tokens > 1 && seconds - first > 0.005) said.push(`${((tokens - 1) / (seconds - first)).toFixed(1)} tokens/s`);
  const title = usage ? `${usage.prompt_tokens} tokens asked, ${tokens} answered, ${seconds.toFixed(2)} s in all` : "";
  return h("small", { class: "figures faint", title }, said.filter(Boolean).join(" · "));
}

function branches(message) {
  const { at, of } = tree.branch(chat.current, message);
  if (of < 2) return null;
  const turn = (step, key) => () => {
    whenFree(() => {
      chat.turn(message, step);
      // The buttons are new ones after a turn; the focus stays with what was pressed.
      const same = $("thread").querySelectorAll("article")[place]?.querySelector(`[data-turn="${key}"]`);
      same?.focus();
    });
  };
  const place = tree.shown(chat.current).indexOf(message);
  const left = iconButton("left", "The branch before", turn(-1, "left"), { "data-turn": "left" });
  const right = iconButton("right", "The branch after", turn(1, "right"), { "data-turn": "right" });
  return h("span", { class: "branches", role: "group", "aria-label": `Branch ${at + 1} of ${of}` }, left, h("span", {}, `${at + 1}/${of}`), right);
}

function failure(message) {
  const { title, advice, needsKey, wait } = message.error;
  const again = h("button", { type: "button", class: "again" }, icon("turn"), "Try again");
  const retry = () => whenFree(() => chat.regenerate(message));
  again.addEventListener("click", retry);
  const block = h("div", { class: "failure", role: "alert" }, h("strong", {}, title), h("p", {}, advice));
  if (needsKey) block.append(keyForm(retry));
  else block.append(again);
  if (wait) countDown(again, Math.ceil(wait - (Date.now() - message.created) / 1000));
  return block;
}

/** A server that is busy is not asked again before the time that it named. */
function countDown(button, seconds) {
  const label = button.lastChild;
  const tick = () => {
    button.disabled = seconds > 0;
    label.textContent = seconds > 0 ? `Try again in ${clock(seconds)}` : "Try again";
    seconds -= 1;
    if (seconds >= 0) setTimeout(tick, 1000);
  };
  tick();
}

/** Turns a message into a form of itself. */
function editMessage(article, message) {
  if (chat.answering()) return toast("An answer is under way. Stop it first (Esc).");
  const old = [...article.childNodes];
  const kept = new Set(message.attachments);
  const box = h("textarea", { "aria-label": "Edit your message", rows: Math.min(8, message.text.split("\n").length + 1) });
  box.value = message.text;
  const back = () => {
    article.replaceChildren(...old);
    article.querySelector("[data-edit]").focus();
  };
  const done = () => {
    const attachments = message.attachments.filter((attachment) => kept.has(attachment));
    if (box.value.trim() || attachments.length) chat.edit(message, box.value.trim(), attachments);
  };
  const views = message.attachments.map((attachment) => {
    const view = attachmentView(attachment);
    const drop = iconButton("close", `Leave out ${attachment.name}`, () => (kept.delete(attachment), view.remove()));
    view.append(drop);
    return view;
  });
  const menu = h("menu", {}, h("button", { type: "button", class: "quiet", onclick: back }, "Cancel"), h("button", { class: "primary" }, "Send as a branch"));
  const form = h("form", { class: "bubble editing" }, h("div", { class: "attached" }, views), box, menu);
  form.addEventListener("submit", (event) => (event.preventDefault(), done()));
  form.addEventListener("keydown", (event) => {
    if (event.key === "Escape") (event.stopPropagation(), back());
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.target === box) (event.preventDefault(), done());
  });
  article.replaceChildren(form);
  box.focus();
}
