// The list of kept conversations: opening, renaming, deleting, searching.

import * as chat from "./chat.js";
import { $, h, iconButton, toast } from "./dom.js";
import * as store from "./store.js";

const narrow = matchMedia("(max-width: 52rem)");

export async function showHistory() {
  const wanted = $("search").value.trim().toLowerCase();
  const all = await store.listConversations().catch(() => []);
  const found = all.filter(({ title }) => title.toLowerCase().includes(wanted));
  $("conversations").replaceChildren(...found.map(row));
  $("no-conversations").textContent = found.length ? "" : wanted ? "No title has this in it." : "Conversations are kept here, in this browser.";
}

function when(time) {
  const date = new Date(time);
  const today = new Date().toDateString() === date.toDateString();
  return today ? date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }) : date.toLocaleDateString([], { day: "numeric", month: "short" });
}

function row(conversation) {
  const { id, title, updated } = conversation;
  const shown = id === chat.current?.id;
  const open = h("button", { type: "button", class: "quiet", "aria-current": shown && "true", onclick: () => (chat.open(id), closeHistory()) }, h("span", {}, title), h("small", { class: "faint" }, when(updated)));
  const item = h("li", {}, open, iconButton("edit", `Rename ${title}`, () => renameIn(item, conversation)), iconButton("trash", `Delete ${title}`, () => remove(id, title)));
  return item;
}

function renameIn(item, { id, title }) {
  const field = h("input", { value: title, "aria-label": `New title of ${title}` });
  const end = async (name) => {
    field.onblur = null;
    if (name && name !== title) await chat.rename(id, name);
    await showHistory();
    $("title").textContent = chat.current?.title || "New conversation";
  };
  field.onblur = () => end(field.value.trim());
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter") end(field.value.trim());
    if (event.key === "Escape") (event.stopPropagation(), end(""));
  });
  item.replaceChildren(field);
  field.select();
}

async function remove(id, title) {
  chat.abandon(id);
  const whole = await store.loadConversation(id);
  await store.removeConversation(id);
  const shown = chat.current?.id === id;
  if (shown) chat.begin();
  else showHistory();
  toast(`"${title}" is deleted.`, "Undo", async () => {
    await store.restoreConversation(whole);
    if (shown) chat.open(id);
    else showHistory();
  });
}

/** On a narrow screen the list lies over the page, otherwise beside it. */
function toggleHistory() {
  document.body.classList.toggle(narrow.matches ? "history-over" : "history-away");
  showExpanded();
  if (document.body.classList.contains("history-over")) $("close-history").focus();
}

export function closeHistory() {
  const wasOver = document.body.classList.contains("history-over");
  document.body.classList.remove("history-over");
  showExpanded();
  return wasOver;
}

function showExpanded() {
  const { classList } = document.body;
  $("toggle-history").setAttribute("aria-expanded", narrow.matches ? classList.contains("history-over") : !classList.contains("history-away"));
}

export function searchHistory() {
  if (narrow.matches ? !document.body.classList.contains("history-over") : document.body.classList.contains("history-away")) toggleHistory();
  $("search").focus();
  $("search").select();
}

export function startHistory() {
  $("search").addEventListener("input", showHistory);
  $("new").addEventListener("click", () => (closeHistory(), chat.begin(), $("box").focus()));
  $("toggle-history").addEventListener("click", toggleHistory);
  for (const id of ["close-history", "veil"]) $(id).addEventListener("click", () => (closeHistory(), $("toggle-history").focus()));
  narrow.addEventListener("change", closeHistory);
  showExpanded();
}
