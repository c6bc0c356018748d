// What the start screen offers to try, as far as the chosen model can do it. Media are made here, so nothing is fetched.

import { $, h, icon } from "./dom.js";
import { KINDS, toPng } from "./media.js";
import { inputs, isKnown, named, outputs } from "./models.js";

async function scene() {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 256;
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, 256, 256);
  pen.fillStyle = "#f00";
  pen.beginPath();
  pen.arc(86, 92, 48, 0, 7);
  pen.fill();
  pen.fillStyle = "#1e46dc";
  pen.fillRect(150, 140, 76, 76);
  return { kind: "image", name: "scene.png", type: "image/png", blob: await toPng(canvas) };
}

/** A bell: tones that die away, the higher the faster, as 16-bit WAV. */
function bell() {
  const rate = 16_000;
  const count = 2 * rate;
  const bytes = new DataView(new ArrayBuffer(44 + 2 * count));
  const words = (at, text) => [...text].forEach((letter, n) => bytes.setUint8(at + n, letter.charCodeAt(0)));
  words(0, "RIFF");
  bytes.setUint32(4, 36 + 2 * count, true);
  words(8, "WAVEfmt ");
  bytes.setUint32(16, 16, true);
  bytes.setUint16(20, 1, true);
  bytes.setUint16(22, 1, true);
  bytes.setUint32(24, rate, true);
  bytes.setUint32(28, 2 * rate, true);
  bytes.setUint16(32, 2, true);
  bytes.setUint16(34, 16, true);
  words(36, "data");
  bytes.setUint32(40, 2 * count, true);
  const partials = [[1, 1, 0.6], [2.76, 0.7, 0.35], [5.4, 0.5, 0.2], [8.93, 0.3, 0.1]];
  for (let n = 0; n < count; n += 1) {
    const t = n / rate;
    const sum = partials.reduce((all, [times, loud, fall]) => all + loud * Math.exp(-t / fall) * Math.sin(2 * Math.PI * 360 * times * t), 0);
    bytes.setInt16(44 + 2 * n, 10_000 * sum, true);
  }
  return { kind: "audio", name: "bell.wav", type: "audio/wav", blob: new Blob([bytes], { type: "audio/wav" }) };
}

/** A red disk that moves to the right, as a GIF of eight frames, four a second. */
function rolling() {
  const [size, frames] = [96, 8];
  const word = (value) => [value & 255, value >> 8];
  const colors = Array.from({ length: 128 }, (_, n) => (n === 1 ? [255, 0, 0] : [255, 255, 255])).flat();
  const bytes = [..."GIF89a"].map((letter) => letter.charCodeAt(0));
  bytes.push(...word(size), ...word(size), 0xf6, 0, 0, ...colors);
  bytes.push(0x21, 0xff, 11, ...[..."NETSCAPE2.0"].map((letter) => letter.charCodeAt(0)), 3, 1, 0, 0, 0);
  for (let frame = 0; frame < frames; frame += 1) {
    bytes.push(0x21, 0xf9, 4, 0, 25, 0, 0, 0, 0x2c, 0, 0, 0, 0, ...word(size), ...word(size), 0, 7);
    // A code that clears the dictionary before it grows keeps all codes at one byte, so each pixel is its own code.
    for (let row = 0; row < size; row += 1) {
      const inside = (column) => Number(Math.hypot(column - 20 - 8 * frame, row - 48) < 14);
      bytes.push(size + 1, 128, ...Array.from({ length: size }, (_, column) => inside(column)));
    }
    bytes.push(1, 129, 0);
  }
  bytes.push(0x3b);
  return { kind: "video", name: "clip.gif", type: "image/gif", blob: new Blob([new Uint8Array(bytes)], { type: "image/gif" }) };
}

function things() {
  const text = "colour,shape,size,x,y\nred,circle,large,20,30\nblue,star,small,70,60\n";
  return { kind: "table", name: "things.csv", type: "text/csv", blob: new Blob([text], { type: "text/csv" }) };
}

const EXAMPLES = [
  { text: "what colour is the circle?", takes: "image", make: scene },
  { text: "draw a red circle left of a blue star", gives: "image" },
  { text: "what do you hear?", takes: "audio", make: bell },
  { text: "which way does the circle move?", takes: "video", make: rolling },
  { text: "what shape is the blue thing?", takes: "table", make: things },
];
// For models that take and make little else than text.
const TEXTS = [
  { text: "Explain in three sentences how a rainbow comes about." },
  { text: "Write a short poem about the sea in winter." },
  { text: "List five things to see on a walk in a forest." },
  { text: "What is the difference between weather and climate?" },
];

/** Shows at most four of them; `compose` puts one into the message box. */
export function showExamples(model, compose) {
  if (!model) return $("start").replaceChildren();
  const [input, output] = [inputs(model), outputs(model)];
  const fits = (example) => isKnown(model) && (!example.takes || input.includes(example.takes)) && (!example.gives || output.includes(example.gives));
  const fit = EXAMPLES.filter(fits);
  const all = fit.length > 2 ? fit : [...fit, ...TEXTS];
  const cards = all.slice(0, 4).map(({ text, takes: kind, gives: result, make }) => {
    const what = kind ? `about a ${KINDS[kind].one}` : result ? `makes a ${KINDS[result].one}` : "in words";
    const onclick = async () => compose(text, make ? [await make()] : []);
    return h("button", { type: "button", class: "example", onclick }, h("span", { class: `sense ${kind ?? result ?? "text"}` }, icon(kind ?? result ?? "text"), what), h("span", {}, text));
  });
  const can = isKnown(model) ? `It takes ${named(input)}, and answers with ${named(output)}.` : "What it takes is known once it has answered.";
  const about = h("p", { class: "faint" }, can);
  const logo = h("img", { src: "/page/icon.svg", alt: "", width: 56, height: 56 });
  $("start").replaceChildren(logo, h("h2", {}, `Talk with ${model.id}`), about, h("div", { class: "examples" }, cards));
  return undefined;
}
