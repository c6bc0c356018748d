// Files as pictures, sounds, videos and tables: what they are, how they are sent, what can be shown of them.

export const KINDS = {
  text: { one: "text", many: "text" },
  image: { one: "picture", many: "pictures" },
  audio: { one: "sound", many: "sounds" },
  video: { one: "video", many: "videos" },
  table: { one: "table", many: "tables" },
};

const TABLES = {
  csv: "text/csv",
  tsv: "text/tab-separated-values",
  jsonl: "application/jsonl",
  ndjson: "application/jsonl",
  xlsx: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
  parquet: "application/vnd.apache.parquet",
};
const SOUNDS = { wav: "wav", mp3: "mp3", ogg: "ogg", oga: "ogg", opus: "ogg", flac: "flac", m4a: "m4a", mp4: "m4a", webm: "webm" };
const CLIPS = { mp4: "video/mp4", m4v: "video/mp4", mov: "video/quicktime", mkv: "video/x-matroska", webm: "video/webm" };
const PICTURES = ["image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp"];

/** What the file picker offers, for the kinds that a model takes. */
export const ACCEPT = {
  image: "image/*",
  audio: "audio/*",
  video: "video/*,.mkv,image/gif",
  table: Object.keys(TABLES).map((ending) => `.${ending}`).join(),
};

const ending = (name) => name.toLowerCase().split(".").pop();

/** An attachment out of a file: `{kind, name, type, blob}`. Throws words for what is none. */
export async function attachmentOf(file, name = file.name || "pasted") {
  const [type] = file.type.split(";");
  const end = ending(name);
  if (TABLES[end]) return { kind: "table", name, type: TABLES[end], blob: file };
  if (type === "image/gif" && (await moves(file))) return { kind: "video", name, type, blob: file };
  if (PICTURES.includes(type)) return { kind: "image", name, type, blob: file };
  if (type.startsWith("image/")) return { kind: "image", name, type: "image/png", blob: await asPng(file, name) };
  if (type.startsWith("audio/")) return { kind: "audio", name, type, blob: file };
  if (CLIPS[end]) return { kind: "video", name, type: CLIPS[end], blob: file };
  if (SOUNDS[end]) return { kind: "audio", name, type: `audio/${SOUNDS[end]}`, blob: file };
  throw new Error(`${name} is no picture, sound, video or table that can be sent.`);
}

/** Whether a GIF has more than one frame: each has a block that tells how long it stands. */
async function moves(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  let frames = 0;
  for (let at = bytes.indexOf(0x21); at >= 0; at = bytes.indexOf(0x21, at + 1)) {
    if (bytes[at + 1] === 0xf9 && bytes[at + 2] === 4) frames += 1;
  }
  return frames > 1;
}

/** A picture of a kind that browsers know and servers need not. */
async function asPng(file, name) {
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new Error(`${name} is no picture that this browser can read.`);
  });
  return toPng(drawn(bitmap, bitmap.width, bitmap.height));
}

export function toPng(canvas) {
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

export function drawn(source, width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").drawImage(source, 0, 0, width, height);
  return canvas;
}

function base64(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(new Error("A file could not be read. Was it moved or deleted?"));
    reader.readAsDataURL(blob);
  });
}

export const dataUrl = async (blob, type = blob.type) => `data:${type.split(";")[0]};base64,${await base64(blob)}`;

export function fromBase64(data, type) {
  return new Blob([Uint8Array.from(atob(data), (character) => character.charCodeAt(0))], { type });
}

export function fromDataUrl(url) {
  const [, type, data] = url.match(/^data:([^;,]*);base64,(.*)$/s) ?? [];
  if (data === undefined) throw new Error("The server sent a medium that is no data: address.");
  return fromBase64(data, type);
}

/** An attachment as a part of a message. */
export async function partOf({ kind, name, type, blob }) {
  switch (kind) {
    case "image":
      return { type: "image_url", image_url: { url: await dataUrl(blob, type) } };
    case "audio": {
      const format = SOUNDS[ending(type.split("/").pop())] ?? SOUNDS[ending(name)] ?? "wav";
      return { type: "input_audio", input_audio: { data: await base64(blob), format } };
    }
    case "video":
      return { type: "video_url", video_url: { url: await dataUrl(blob, type) } };
    default:
      return { type: "file", file: { file_data: await dataUrl(blob, type), filename: name } };
  }
}

const urls = new Map();

/** An address under which the page can show a blob. */
export function urlOf(blob) {
  if (!urls.has(blob)) urls.set(blob, URL.createObjectURL(blob));
  return urls.get(blob);
}

/** Lets go of what was shown, when another conversation is. */
export function forgetUrls() {
  urls.forEach((url) => URL.revokeObjectURL(url));
  urls.clear();
}

/** What is worked out of a blob, once for each. */
function onceFor(work) {
  const known = new WeakMap();
  return (blob, count) => {
    if (!known.has(blob)) known.set(blob, work(blob, count));
    return known.get(blob);
  };
}

/** How loud a sound is along its length, `count` values from 0 to 1, and how many seconds it lasts. */
export const loudness = onceFor(async (blob, count) => {
  const sound = await new OfflineAudioContext(1, 1, 16_000).decodeAudioData(await blob.arrayBuffer());
  const samples = sound.getChannelData(0);
  const step = Math.max(1, Math.floor(samples.length / count));
  const peaks = Array.from({ length: count }, (_, bar) => {
    let peak = 0;
    for (let at = bar * step; at < Math.min(samples.length, (bar + 1) * step); at += 1) peak = Math.max(peak, Math.abs(samples[at]));
    return peak;
  });
  const most = Math.max(0.05, ...peaks);
  return { peaks: peaks.map((peak) => peak / most), seconds: sound.duration };
});

/** A few frames of a video, spread over its length: `[{seconds, canvas}]`. Throws where the browser cannot read it. */
export const framesOf = onceFor((blob, count) => (blob.type === "image/gif" ? framesOfGif(blob, count) : framesOfVideo(blob, count)));

const small = (source, width, height) => drawn(source, Math.max(1, Math.round((width / height) * 72)), 72);

async function framesOfGif(blob, count) {
  const decoder = new ImageDecoder({ data: blob.stream(), type: "image/gif" });
  await decoder.completed;
  const { frameCount } = decoder.tracks.selectedTrack;
  const frames = [];
  for (let n = 0; n < Math.min(count, frameCount); n += 1) {
    const frameIndex = Math.floor((n * frameCount) / Math.min(count, frameCount));
    const { image } = await decoder.decode({ frameIndex });
    frames.push({ seconds: image.timestamp / 1e6, canvas: small(image, image.displayWidth, image.displayHeight) });
    image.close();
  }
  decoder.close();
  return frames;
}

async function framesOfVideo(blob, count) {
  const video = document.createElement("video");
  const when = (event) =>
    new Promise((resolve, reject) => {
      video.addEventListener(event, resolve, { once: true });
      video.addEventListener("error", () => reject(new Error("This browser cannot show the video.")), { once: true });
    });
  Object.assign(video, { muted: true, preload: "auto", src: urlOf(blob) });
  await when("loadeddata");
  const frames = [];
  // A recording may not tell its length; then its first frame has to do.
  const length = Number.isFinite(video.duration) ? video.duration : 0;
  for (let n = 0; n < (length ? count : 1); n += 1) {
    const seconds = (n * length) / count;
    const ready = when("seeked");
    video.currentTime = seconds;
    await ready;
    frames.push({ seconds, canvas: small(video, video.videoWidth, video.videoHeight) });
  }
  return frames;
}

/** The first rows of a table of text, the columns' names first; null for what only a program can read. */
export async function rowsOf({ name, blob }, count = 6) {
  const end = ending(name);
  if (!["csv", "tsv", "jsonl", "ndjson"].includes(end)) return null;
  const text = await blob.slice(0, 65_536).text();
  if (end === "csv" || end === "tsv") return separated(text, end === "tsv" ? "\t" : ",", count);
  const records = text.split("\n").filter((line) => line.trim()).slice(0, count - 1).flatMap(parsed);
  const columns = [...new Set(records.flatMap(Object.keys))];
  const cell = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));
  return [columns, ...records.map((record) => columns.map((column) => (record[column] == null ? "" : cell(record[column]))))];
}

function parsed(line) {
  try {
    return [JSON.parse(line)];
  } catch {
    return [];
  }
}

/** Rows of cells that a sign separates; quotes keep it, and line ends, inside a cell. */
function separated(text, sign, count) {
  const rows = [[""]];
  let quoted = false;
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at];
    const row = rows.at(-1);
    if (character === '"' && quoted && text[at + 1] === '"') {
      row[row.length - 1] += '"';
      at += 1;
    } else if (character === '"') quoted = !quoted;
    else if (quoted) row[row.length - 1] += character;
    else if (character === sign) row.push("");
    else if (character === "\n") {
      if (rows.length === count) break;
      rows.push([""]);
    } else if (character !== "\r") row[row.length - 1] += character;
  }
  return rows.filter((row) => row.length > 1 || row[0]);
}
