// Choices of the one who talks: how answers are made and how the page looks. Kept in the browser.

import { apiKey, setApiKey } from "./api.js";
import { $, h } from "./dom.js";
import { outputs } from "./models.js";
import { recall, remember } from "./store.js";

const DEFAULTS = {
  theme: "system",
  system: "",
  temperature: "",
  seed: "",
  maxTokens: "",
  size: "",
  voice: "",
  speed: "1",
  // Not sound: an answer can be heard when one wants to, and speaking all of them takes long.
  answers: ["text", "image", "video"],
};

export const settings = { ...DEFAULTS, ...recall("settings") };

const form = $("settings").querySelector("form");

export function applyTheme() {
  document.documentElement.dataset.theme = settings.theme;
}

/** What of a request the settings decide, for a model. */
export function asked(model) {
  const number = (text) => (text === "" || Number.isNaN(Number(text)) ? undefined : Number(text));
  const gives = outputs(model);
  const modalities = gives.filter((kind) => settings.answers.includes(kind));
  const aloud = modalities.includes("audio") && model.voices?.length;
  return {
    temperature: number(settings.temperature),
    seed: number(settings.seed),
    max_completion_tokens: number(settings.maxTokens),
    modalities: modalities.length ? modalities : ["text"],
    audio: aloud ? { voice: voiceOf(model), format: "wav" } : undefined,
    size: settings.size && gives.some((kind) => kind !== "text" && kind !== "audio") ? settings.size : undefined,
  };
}

/** The voice that is wanted, if a model has it, else its first. */
export function voiceOf(model) {
  const voices = model.voices ?? [];
  return voices.includes(settings.voice) ? settings.voice : voices[0];
}

function fill(model, voices) {
  for (const [name, value] of Object.entries(settings)) {
    if (name === "answers" || name === "theme") {
      for (const box of form.elements[name]) box.checked = [value].flat().includes(box.value);
    } else if (name !== "voice") form.elements[name].value = value;
  }
  form.elements.voice.replaceChildren(...voices.map((voice) => h("option", {}, voice)));
  form.elements.voice.disabled = !voices.length;
  if (voices.includes(settings.voice)) form.elements.voice.value = settings.voice;
  form.elements.key.value = apiKey();
  const gives = outputs(model);
  for (const box of form.elements.answers) box.closest("label").classList.toggle("off", !gives.includes(box.value));
  $("answers-note").textContent = model && gives.length < 4 ? `What ${model.id} cannot make is crossed out.` : "";
}

function read() {
  for (const name of Object.keys(DEFAULTS)) {
    if (name === "answers") settings.answers = [...form.elements.answers].filter((box) => box.checked).map((box) => box.value);
    else if (form.elements[name].validity?.valid ?? true) settings[name] = form.elements[name].value;
  }
  setApiKey(form.elements.key.value);
  remember("settings", settings);
  applyTheme();
}

/** Asks for the key that a server wants, and goes on with it. */
export function keyForm(goOn) {
  const field = h("input", { type: "password", autocomplete: "off", "aria-label": "API key", placeholder: "API key", required: true });
  const form = h("form", { class: "key" }, field, h("button", { class: "primary" }, "Use this key"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    setApiKey(field.value);
    goOn();
  });
  return form;
}

/** Shows the settings for a model and all the voices there are. */
export function openSettings(model, voices) {
  fill(model, voices);
  form.onchange = read;
  $("settings-reset").onclick = () => {
    Object.assign(settings, DEFAULTS);
    remember("settings", null);
    applyTheme();
    fill(model, voices);
  };
  $("settings").showModal();
}
