// The message box: text, attachments from files, drops, pastes, the camera and the microphone, and what the
// chosen model cannot take of them, said before anything is sent.

import { inWords, transcribe } from "./api.js";
import { record, takePicture } from "./capture.js";
import * as chat from "./chat.js";
import { $, announce, h, iconButton, toast } from "./dom.js";
import { ACCEPT, attachmentOf, KINDS } from "./media.js";
import { lacks, named, partners, takes, transcriber } from "./models.js";
import { attachmentView } from "./players.js";
import * as tree from "./tree.js";

const box = $("box");
let attachments = [];
let onModel = () => {};

/** The kinds of what waits to be sent. */
export const pending = () => attachments.map(({ kind }) => kind);

/** Fills the box, as an example does. */
export function compose(text, files) {
  box.value = text;
  attachments = files;
  showAttachments();
  grow();
  box.focus();
}

async function attachFiles(files) {
  for (const file of files) {
    try {
      attachments.push(await attachmentOf(file));
    } catch (error) {
      toast(error.message);
    }
  }
  if (files.length) announce(attachments.length === 1 ? "1 file attached." : `${attachments.length} files attached.`);
  showAttachments();
  box.focus();
}

/** Shows what waits to be sent. */
export function showAttachments() {
  const views = attachments.map((attachment) => {
    const view = attachmentView(attachment);
    const drop = iconButton("close", `Remove ${attachment.name}`, () => {
      attachments = attachments.filter((other) => other !== attachment);
      showAttachments();
      box.focus();
    });
    view.append(drop);
    return view;
  });
  $("attachments").replaceChildren(...views);
  showState();
}

/** Why a button does nothing for this model; empty when it does something. */
function refusal(kind) {
  const model = chat.model();
  return takes(model, kind) ? "" : `${model?.id ?? "This server"} takes no ${KINDS[kind].many}.`;
}

function grey(button, why) {
  button.setAttribute("aria-disabled", why !== "");
  button.dataset.why = why;
  button.title = why || button.getAttribute("aria-label");
}

/** Shows what can be sent to the chosen model and what cannot. */
export function showState() {
  const model = chat.model();
  const missing = lacks(model, pending());
  $("attachments").childNodes.forEach((view, n) => view.classList.toggle("off", missing.includes(attachments[n].kind)));
  const media = ["image", "audio", "video", "table"].filter((kind) => takes(model, kind));
  $("files").accept = media.map((kind) => ACCEPT[kind]).join();
  grey($("attach"), media.length ? "" : `${model?.id ?? "This server"} takes only text.`);
  grey($("camera"), refusal("image"));
  grey($("microphone"), transcriber(model) ? "" : refusal("audio"));
  showWarning(model, missing);
  const nothing = !box.value.trim() && !attachments.length;
  grey($("send"), nothing ? "Nothing to send yet." : missing.length ? $("warning").firstChild.textContent : "");
  $("stop").hidden = !chat.answering();
  $("send").hidden = chat.answering();
}

function showWarning(model, missing) {
  const earlier = lacks(model, tree.shown(chat.current).flatMap(({ attachments: held = [] }) => held.map(({ kind }) => kind)));
  const parts = [];
  if (missing.length) {
    parts.push(`${model?.id} cannot take the ${named(missing)} that you attached. `);
    const other = partners().find((candidate) => !lacks(candidate, pending()).length);
    if (other) parts.push(h("button", { type: "button", class: "link", onclick: () => onModel(other) }, `Use ${other.id} instead`));
  } else if (model && earlier.length) {
    parts.push(`${model.id} takes no ${named(earlier)}: those of earlier messages are left out.`);
  }
  const words = parts.map((part) => part.textContent ?? part).join("");
  // Said anew only when it has changed, as this is read aloud.
  if (words !== $("warning").textContent) $("warning").replaceChildren(...parts);
}

function submit() {
  const why = $("send").dataset.why;
  if (chat.answering()) return toast("An answer is under way. Stop it first (Esc).");
  // What is wrong stands beside the box already.
  if (why) return announce(why);
  const [text, files] = [box.value.trim(), attachments];
  box.value = "";
  attachments = [];
  showAttachments();
  grow();
  chat.send(text, files);
  return undefined;
}

/** The box is as high as its text, up to what CSS allows. */
function grow() {
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
}

const stamp = () => new Date().toTimeString().slice(0, 8).replaceAll(":", ".");

async function useCamera() {
  const blob = await takePicture();
  if (blob) await attachFiles([new File([blob], `camera ${stamp()}.png`, { type: "image/png" })]);
}

async function useMicrophone() {
  const model = chat.model();
  const writer = transcriber(model);
  const choices = [takes(model, "audio") && "Attach", writer && "Dictate"].filter(Boolean);
  const taken = await record($("recorder"), choices);
  box.focus();
  if (!taken) return;
  const end = taken.blob.type.includes("mp4") ? "m4a" : "webm";
  const file = new File([taken.blob], `recording ${stamp()}.${end}`, { type: taken.blob.type });
  if (taken.choice === "Attach") return attachFiles([file]);
  announce("Writing down what you said.");
  $("card").classList.add("busy");
  try {
    const text = await transcribe(file, file.name, writer.id);
    box.setRangeText(`${box.value && !/\s$/.test(box.value) ? " " : ""}${text}`, box.selectionStart, box.selectionEnd, "end");
    grow();
    showState();
  } finally {
    $("card").classList.remove("busy");
  }
  return undefined;
}

/** A button that a model may have no use for: then it says why. */
function onUse(button, act) {
  button.addEventListener("click", async () => {
    if (button.dataset.why) return toast(button.dataset.why);
    try {
      await act();
    } catch (error) {
      const { title, advice } = inWords(error);
      toast(error.status === undefined ? error.message : `${title} ${advice}`);
    }
    return undefined;
  });
}

/** Listens to the box and its buttons; `useModel` chooses another model. */
export function startComposer(useModel) {
  onModel = useModel;
  $("composer").addEventListener("submit", (event) => (event.preventDefault(), submit()));
  box.addEventListener("input", () => (grow(), showState()));
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      submit();
    } else if (event.key === "ArrowUp" && !box.value && !chat.answering()) {
      const edits = [...document.querySelectorAll("#thread [data-edit]")];
      if (edits.length) (event.preventDefault(), edits.at(-1).click());
    }
  });
  onUse($("attach"), () => $("files").click());
  onUse($("camera"), useCamera);
  onUse($("microphone"), useMicrophone);
  $("files").addEventListener("change", () => attachFiles([...$("files").files]).then(() => ($("files").value = "")));
  $("stop").addEventListener("click", () => (chat.stop(), box.focus()));
  document.addEventListener("paste", ({ clipboardData: pasted }) => {
    // Office programs put a picture of the text beside it.
    if (pasted.files.length && !pasted.types.includes("text/plain")) attachFiles([...pasted.files]);
  });
  takeDrops();
}

function takeDrops() {
  const over = (shown) => document.body.classList.toggle("dropping", shown);
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => hasFiles(event) && (event.preventDefault(), over(true)));
  document.addEventListener("dragleave", (event) => event.relatedTarget || over(false));
  document.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    over(false);
    attachFiles([...event.dataTransfer.files]);
  });
}
