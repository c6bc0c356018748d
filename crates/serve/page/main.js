// The page as a whole: what happens at the start, when something changes, and at the keys.

import { inWords } from "./api.js";
import * as chat from "./chat.js";
import { compose, pending, showAttachments, showState, startComposer } from "./composer.js";
import { $, dressButtons, h, toast } from "./dom.js";
import { showExamples } from "./examples.js";
import { exportJson, exportMarkdown } from "./export.js";
import { closeHistory, searchHistory, showHistory, startHistory } from "./history.js";
import { loadModels, showChosen, showPicker, voices } from "./models.js";
import { leaveThread, renderAnswer, renderThread } from "./render.js";
import { applyTheme, keyForm, openSettings } from "./settings.js";
import { recall, remember } from "./store.js";

const main = $("main");
let seen = null;
// Whether the newest message stays in view while answers grow and media get their size.
let follow = true;
// Only a hand ends that: what grows, or is shown anew, scrolls too.
let byHand = false;

const atEnd = () => main.scrollHeight - main.scrollTop - main.clientHeight < 80;

function toEnd() {
  follow = true;
  byHand = false;
  main.scrollTop = main.scrollHeight;
}

/** Shows the current conversation anew, at its end unless one was reading further up in it. */
function showThread() {
  const top = main.scrollTop;
  follow ||= seen !== chat.current || chat.answering();
  const within = $("thread").contains(document.activeElement);
  if (seen !== chat.current) {
    leaveThread();
    showAttachments();
  }
  seen = chat.current;
  remember("current", chat.current.messages.size ? chat.current.id : null);
  renderThread();
  // What had the focus is gone, and must not take it along.
  if (within) $("box").focus();
  document.title = chat.current.title ? `${chat.current.title} - Sensorium` : "Sensorium";
  showModel();
  showHistory();
  main.scrollTop = top;
  keepPlace();
}

function followTheEnd() {
  for (const hand of ["wheel", "touchmove", "pointerdown", "keydown"]) main.addEventListener(hand, () => (byHand = true), { passive: true });
  main.addEventListener("scroll", () => {
    if (byHand) follow = atEnd();
    $("to-end").hidden = atEnd();
  });
  const sizes = new ResizeObserver(keepPlace);
  sizes.observe($("thread"));
  sizes.observe(main);
}

function keepPlace() {
  if (follow && chat.current.messages.size) toEnd();
  $("to-end").hidden = atEnd();
}

function showModel() {
  const model = chat.model();
  const fresh = !chat.current.messages.size;
  showChosen(model);
  $("start").hidden = !fresh;
  $("export").disabled = fresh;
  if (fresh) showExamples(model, compose);
  showState();
}

function useModel(model) {
  chat.choose(model);
  remember("model", model.id);
  showModel();
}

/** Asks for the models; says what is wrong until the server answers. */
async function connect() {
  try {
    await loadModels();
    $("banner").hidden = true;
    showModel();
    if (!chat.model()) showTrouble({ title: "This server has no model to talk with.", advice: "Start it with one that answers." });
  } catch (error) {
    showTrouble(inWords(error));
  }
}

function showTrouble({ title, advice, needsKey }) {
  const again = h("button", { type: "button", class: "quiet", onclick: connect }, "Try again");
  $("banner").replaceChildren(h("span", {}, h("strong", {}, title), ` ${advice}`), needsKey ? keyForm(connect) : again);
  $("banner").hidden = false;
  if (!needsKey) setTimeout(() => $("banner").hidden || document.hidden || connect(), 5000);
}

function onKey(event) {
  const command = event.ctrlKey || event.metaKey;
  if (event.key === "Escape") {
    // What lies over the page closes first, and by itself.
    if (!closeHistory() && !document.querySelector("dialog[open], :popover-open")) chat.stop();
    return;
  }
  if (command && event.key.toLowerCase() === "k") searchHistory();
  else if (command && event.key === "/") $("shortcuts").showModal();
  else if (event.altKey && event.code === "KeyN") $("new").click();
  else return;
  event.preventDefault();
}

function start() {
  applyTheme();
  dressButtons();
  chat.listen({
    thread: showThread,
    list: showHistory,
    answer: renderAnswer,
  });
  startComposer(useModel);
  startHistory();
  $("models").addEventListener("beforetoggle", ({ newState }) => newState === "open" && showPicker(chat.model(), pending(), useModel));
  $("settings-open").addEventListener("click", () => openSettings(chat.model(), voices()));
  $("shortcuts-open").addEventListener("click", () => $("shortcuts").showModal());
  for (const [id, write] of [["export-json", exportJson], ["export-markdown", exportMarkdown]]) {
    $(id).addEventListener("click", () => {
      $("export-menu").hidePopover();
      write(chat.current).catch((error) => toast(error.message));
    });
  }
  $("to-end").addEventListener("click", toEnd);
  followTheEnd();
  document.addEventListener("keydown", onKey);
  addEventListener("online", connect);
  const last = recall("current");
  chat.begin();
  connect().then(() => last && chat.open(last));
}

start();
