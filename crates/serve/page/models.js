// The models of the server: what each can take and make, and the picker of the one that is talked with.

import { listModels } from "./api.js";
import { $, h, icon } from "./dom.js";
import { KINDS } from "./media.js";
import { recall, remember } from "./store.js";

let all = [];

export async function loadModels() {
  all = await listModels();
}

// What a model can do is known once it was opened; until then it is taken to answer, and to take anything.
export const isKnown = (model) => model?.capabilities !== undefined;
const can = (model, what) => model?.capabilities?.includes(what) ?? false;

export const partners = () => all.filter((model) => !isKnown(model) || can(model, "chat"));
export const voices = () => [...new Set(all.filter((model) => can(model, "speak")).flatMap((model) => model.voices ?? []))];
export const transcriber = (model) => (can(model, "transcribe") ? model : all.find((other) => can(other, "transcribe")));
export const speaker = (model) => (can(model, "speak") ? model : all.find((other) => can(other, "speak")));
const inOrder = (kinds) => Object.keys(KINDS).filter((kind) => kinds.includes(kind));

/** The kinds that a model takes, and those that it makes: what speaks can say its words aloud. */
export const inputs = (model) => inOrder(model?.architecture?.input_modalities ?? (model ? Object.keys(KINDS) : []));
export const outputs = (model) => inOrder([...(model?.architecture?.output_modalities ?? ["text"]), ...(can(model, "speak") ? ["audio"] : [])]);
export const takes = (model, kind) => inputs(model).includes(kind);

/** The model of that name, else the one last chosen, else the first. */
export function modelNamed(id) {
  const known = partners();
  return known.find((model) => model.id === id) ?? known.find((model) => model.id === recall("model")) ?? known[0];
}

/** The kinds among `kinds` that a model does not take, each once. */
export const lacks = (model, kinds) => [...new Set(kinds)].filter((kind) => !takes(model, kind));

/** "pictures and sounds". */
export function named(kinds) {
  const words = kinds.map((kind) => KINDS[kind].many);
  return words.length > 1 ? `${words.slice(0, -1).join(", ")} and ${words.at(-1)}` : words[0];
}

function senses(kinds, verb) {
  const marks = kinds.map((kind) => h("span", { class: `sense ${kind}`, title: KINDS[kind].many }, icon(kind), KINDS[kind].many));
  return h("span", { class: "senses" }, h("span", { class: "faint" }, verb), marks);
}

/** Fills the picker. `pending` are the kinds of what is attached, which not all models take. */
export function showPicker(chosen, pending, choose) {
  const rows = partners().map((model) => {
    const missing = lacks(model, pending);
    const radio = h("input", { type: "radio", name: "model", value: model.id, checked: model === chosen, autofocus: model === chosen });
    radio.addEventListener("change", () => {
      remember("model", model.id);
      choose(model);
    });
    return h(
      "label",
      { class: missing.length ? "model off" : "model" },
      radio,
      h("span", { class: "model-name" }, model.id, h("small", { class: "faint" }, model.owned_by ?? "")),
      isKnown(model) ? [senses(inputs(model), "takes"), senses(outputs(model), "makes")] : h("span", { class: "senses faint" }, "What it takes is known once it has answered."),
      missing.length > 0 && h("span", { class: "warn" }, `Cannot take the ${named(missing)} that you attached.`),
    );
  });
  const others = all.filter((model) => isKnown(model) && !can(model, "chat"));
  const rest = others.length > 0 && h("p", { class: "faint" }, `Not to talk with: ${others.map((model) => model.id).join(", ")}.`);
  const close = () => $("models").hidePopover();
  const form = h("form", { onclick: ({ detail, target }) => detail > 0 && target.closest("input") && close() }, rows, rest);
  form.addEventListener("submit", (event) => (event.preventDefault(), close()));
  form.addEventListener("keydown", (event) => event.key === "Enter" && (event.preventDefault(), close()));
  $("models").replaceChildren(rows.length ? form : h("p", { class: "faint" }, "This server has no model to talk with."));
}

/** Names the chosen model on the button that opens the picker. */
export function showChosen(model) {
  $("model").replaceChildren(h("span", {}, model?.id ?? "No model"), icon("chevron"));
  $("model").setAttribute("aria-label", `Model: ${model?.id ?? "none"}. Choose another`);
}
