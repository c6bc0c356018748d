// Small helpers to build the page out of nodes. Nothing here, or anywhere, parses text as HTML.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

/** An element: `on…` attributes are listeners, `true` and `false` set and leave out, the rest are attributes. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

export function svg(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Strokes on a grid of 24.
const ICONS = {
  menu: "M4 6h16M4 12h16M4 18h16",
  close: "M6 6l12 12M18 6L6 18",
  plus: "M12 5v14M5 12h14",
  keyboard: "M3 7h18v10H3zM7 11h.01M12 11h.01M17 11h.01M8 14h8",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  settings: "M4 7h9M19 7h1M4 17h1M11 17h9M16 4.5v5M8 14.5v5",
  clip: "M20 11l-8.5 8.5a5 5 0 0 1-7-7L13 4a3.3 3.3 0 0 1 4.7 4.7L9.3 17a1.6 1.6 0 0 1-2.3-2.3l7.7-7.7",
  camera: "M4 8h3.5L9 5.5h6L16.5 8H20v11H4zM12 16.5a3.3 3.3 0 1 0 0-6.6 3.3 3.3 0 0 0 0 6.6z",
  microphone: "M12 4a3 3 0 0 0-3 3v4a3 3 0 0 0 6 0V7a3 3 0 0 0-3-3zM6 11a6 6 0 0 0 12 0M12 17v3.5",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M7 7h10v10H7z",
  chevron: "M6 9.5l6 6 6-6",
  down: "M12 5v14M6 13l6 6 6-6",
  turn: "M4 12a8 8 0 0 1 14-5.3L20 9M20 4v5h-5M20 12a8 8 0 0 1-14 5.3L4 15M4 20v-5h5",
  copy: "M9 9h11v11H9zM15 9V4H4v11h5",
  edit: "M4 20h4L19.5 8.5l-4-4L4 16zM13 7l4 4",
  speak: "M4 10v4h3.5L12 18V6L7.5 10zM15.5 9a4.2 4.2 0 0 1 0 6M18 6.5a8 8 0 0 1 0 11",
  play: "M8 5.5v13l10.5-6.5z",
  pause: "M8 6v12M16 6v12",
  left: "M14 6l-6 6 6 6",
  right: "M10 6l6 6-6 6",
  trash: "M5 7h14M10 7V4.5h4V7M7 7l.8 13h8.4L17 7M10.5 11v5M13.5 11v5",
  image: "M4 5h16v14H4zM4 16l5-5 4.5 4.5L16 13l4 4M15.5 9.5h.01",
  audio: "M4 10v4M8 7v10M12 4v16M16 8v8M20 10.5v3",
  video: "M4 6h11v12H4zM15 10.5l5-3v9l-5-3",
  table: "M4 5h16v14H4zM4 10h16M4 14.5h16M10 5v14",
  text: "M5 6h14M12 6v13",
};

export function icon(name) {
  return svg("svg", { viewBox: "0 0 24 24", class: "icon-image", "aria-hidden": "true" }, svg("path", { d: ICONS[name] }));
}

/** A button with an icon; its label is read aloud, and shown where there is a pointer that can rest on it. */
export function iconButton(name, label, onclick, attributes = {}) {
  return h("button", { type: "button", class: "icon", "aria-label": label, title: label, onclick, ...attributes }, icon(name));
}

/** Gives the buttons of the page itself their icons. */
export function dressButtons() {
  for (const button of document.querySelectorAll("[data-icon]")) {
    button.prepend(icon(button.dataset.icon));
    if (button.classList.contains("icon")) button.title = button.getAttribute("aria-label");
  }
}

/** A passing note, with something to do about it where `action` names it. */
export function toast(words, action, onclick) {
  const close = () => note.remove();
  const note = h("p", {}, words);
  if (action) note.append(h("button", { type: "button", class: "quiet", onclick: () => (close(), onclick()) }, action));
  $("toasts").append(note);
  setTimeout(close, action ? 9000 : 5000);
}

/** Says something to those who listen to the page rather than look at it. */
export function announce(words) {
  $("spoken").textContent = words;
}

export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast("Copied.");
  } catch {
    toast("This browser does not let the page copy. Select the text instead.");
  }
}

export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

export function bytes(count) {
  if (count < 1000) return `${count} B`;
  return count < 1e6 ? `${Math.round(count / 1e3)} kB` : `${(count / 1e6).toFixed(1)} MB`;
}
