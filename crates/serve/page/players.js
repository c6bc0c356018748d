// What media look like in the page: pictures, sounds with their waveform, clips, frames of videos, tables as grids.

import { $, bytes, clock, h, icon, iconButton, svg } from "./dom.js";
import { drawn, framesOf, KINDS, loudness, rowsOf, urlOf } from "./media.js";

const BARS = 64;
const FRAMES = 5;
const still = matchMedia("(prefers-reduced-motion: reduce)");
let playing = null;

/** A waveform as one path of upright bars. */
export function wave(peaks) {
  const bars = peaks.map((peak, n) => `M${n * 3 + 1.5} ${16 - Math.max(0.5, 14 * peak)}V${16 + Math.max(0.5, 14 * peak)}`);
  const view = { viewBox: `0 0 ${peaks.length * 3} 32`, preserveAspectRatio: "none", "aria-hidden": "true" };
  return svg("svg", view, svg("path", { d: bars.join(""), "vector-effect": "non-scaling-stroke" }));
}

/** A sound that can be played and sought in. */
export function sound(blob, name, { play = false } = {}) {
  const audio = new Audio(urlOf(blob));
  let length = 0;
  const time = h("span", { class: "time" }, "0:00");
  const seek = h("input", { type: "range", min: 0, max: 1, step: "any", value: 0, "aria-label": `Place in ${name}` });
  const waves = h("div", { class: "waves" }, seek);
  const button = iconButton("play", `Play ${name}`, () => (audio.paused ? audio.play().catch(() => {}) : audio.pause()));

  const show = () => {
    waves.style.setProperty("--played", length ? audio.currentTime / length : 0);
    if (length) seek.value = audio.currentTime;
    seek.setAttribute("aria-valuetext", `${clock(audio.currentTime)} of ${clock(length)}`);
    time.textContent = audio.paused && !audio.currentTime ? clock(length) : clock(audio.currentTime);
    button.replaceChildren(icon(audio.paused ? "play" : "pause"));
    button.title = `${audio.paused ? "Play" : "Pause"} ${name}`;
    button.setAttribute("aria-label", button.title);
    if (!audio.paused) requestAnimationFrame(show);
  };
  audio.addEventListener("play", () => {
    if (playing !== audio) playing?.pause();
    playing = audio;
    show();
  });
  for (const event of ["pause", "ended", "seeked"]) audio.addEventListener(event, show);
  seek.addEventListener("input", () => (audio.currentTime = Number(seek.value)));

  loudness(blob, BARS).then(
    ({ peaks, seconds }) => {
      length = seconds;
      seek.max = seconds;
      waves.prepend(wave(peaks), h("div", { class: "played" }, wave(peaks)));
      show();
    },
    () => waves.prepend(h("span", { class: "faint" }, "This browser cannot play it.")),
  );
  if (play) audio.play().catch(() => {});
  const keep = h("a", { class: "icon", href: urlOf(blob), download: name, "aria-label": `Save ${name}`, title: `Save ${name}` }, icon("download"));
  return h("div", { class: "sound", role: "group", "aria-label": name }, button, waves, time, keep);
}

/** Stops what plays, when its place in the page goes away. */
export function hush() {
  playing?.pause();
  playing = null;
}

/** A picture that opens larger. */
export function picture(blob, name) {
  const image = () => h("img", { src: urlOf(blob), alt: name });
  const open = () => {
    const close = h("button", { class: "primary", autofocus: true }, "Close");
    const keep = h("a", { class: "button quiet", href: urlOf(blob), download: fileName(name, blob) }, "Save");
    $("viewer").replaceChildren(image(), h("form", { method: "dialog" }, h("menu", {}, keep, close)));
    $("viewer").showModal();
  };
  return h("button", { type: "button", class: "picture", "aria-label": `Show ${name} larger`, onclick: open }, image());
}

const fileName = (name, blob) => (name.includes(".") ? name : `${name}.${blob.type.split("/").pop()}`);

/** A clip of an answer. A GIF cannot be stopped by itself, so its first frame stands in for it. */
export function clip(blob, name) {
  if (blob.type !== "image/gif") {
    return h("video", { class: "clip", src: urlOf(blob), controls: true, loop: true, playsinline: true, "aria-label": name });
  }
  const image = h("img", { src: urlOf(blob), alt: name });
  let moving = !still.matches;
  const button = iconButton("pause", `Pause ${name}`, () => show(!moving));
  const frame = h("div", { class: "clip" }, image, button);
  const show = (move) => {
    moving = move;
    const first = drawn(image, image.naturalWidth, image.naturalHeight);
    frame.replaceChildren(moving ? image : first, button);
    button.replaceChildren(icon(moving ? "pause" : "play"));
    button.title = `${moving ? "Pause" : "Play"} ${name}`;
    button.setAttribute("aria-label", button.title);
  };
  image.addEventListener("load", () => show(moving), { once: true });
  return frame;
}

/** A few frames of a video with their times. */
function strip(attachment) {
  const place = h("div", { class: "strip", role: "img", "aria-label": `Frames of ${attachment.name}` });
  framesOf(attachment.blob, FRAMES).then(
    (frames) => place.replaceChildren(...frames.map(({ seconds, canvas }) => h("figure", {}, drawn(canvas, canvas.width, canvas.height), h("figcaption", {}, `${seconds.toFixed(1)} s`)))),
    () => place.replaceWith(chip(attachment)),
  );
  return place;
}

function grid(attachment) {
  const place = h("div", { class: "grid", tabindex: "0", role: "region", "aria-label": `First rows of ${attachment.name}` });
  rowsOf(attachment).then((rows) => {
    if (!rows?.length) return place.replaceWith(chip(attachment));
    const row = (tag) => (cells) => h("tr", {}, cells.slice(0, 12).map((cell) => h(tag, {}, cell)));
    place.append(h("table", {}, h("thead", {}, row("th")(rows[0])), h("tbody", {}, rows.slice(1).map(row("td")))));
  });
  return place;
}

function chip({ name, kind, blob }) {
  return h("div", { class: "chip" }, icon(kind), h("span", {}, name), h("small", { class: "faint" }, bytes(blob.size)));
}

/** An attachment as it is shown below the message box and in messages. */
export function attachmentView(attachment) {
  const { kind, name, blob } = attachment;
  const view = { image: () => picture(blob, name), audio: () => sound(blob, name), video: () => strip(attachment), table: () => grid(attachment) };
  const caption = h("figcaption", {}, icon(kind), h("span", { class: "hidden" }, KINDS[kind].one), h("span", {}, name));
  return h("figure", { class: `attachment ${kind}` }, view[kind](), caption);
}
