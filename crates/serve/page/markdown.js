// A small part of Markdown as nodes: paragraphs, headings, lists, quotes, code, tables, bold, italic, inline code.
// Addresses stay text, so nothing that a model writes can make the browser fetch or follow anything.

import { copy, h, iconButton } from "./dom.js";

const FENCE = /^\s*(```+|~~~+)\s*(\S*)/;
const HEADING = /^(#{1,6})\s+(.*)$/;
const BULLET = /^\s*[-*+]\s+(.*)$/;
const NUMBER = /^\s*(\d+)[.)]\s+(.*)$/;
// Quotes in quotes are shown as one.
const QUOTE = /^\s*(?:>\s?)+(.*)$/;
const RULE = /^\s*\|?\s*:?-{2,}:?\s*(\|\s*:?-{2,}:?\s*)*\|?\s*$/;

/** The nodes of a text. */
export function markdown(text) {
  const lines = text.split("\n");
  const nodes = [];
  for (let at = 0; at < lines.length; ) {
    const [node, next] = block(lines, at);
    if (node) nodes.push(node);
    at = next;
  }
  return nodes;
}

/** The block that begins at a line, and where the next one does. */
function block(lines, at) {
  const line = lines[at];
  const fence = line.match(FENCE);
  if (fence) return code(lines, at, fence);
  const heading = line.match(HEADING);
  // The page's own headings are above those of an answer.
  if (heading) return [h(`h${Math.min(6, heading[1].length + 2)}`, {}, inline(heading[2])), at + 1];
  if (line.includes("|") && RULE.test(lines[at + 1] ?? "") && lines[at + 1].includes("-")) return table(lines, at);
  if (BULLET.test(line)) return list("ul", BULLET, lines, at);
  if (NUMBER.test(line)) return list("ol", NUMBER, lines, at);
  if (QUOTE.test(line)) {
    const end = run(lines, at, (next) => QUOTE.test(next));
    const inner = lines.slice(at, end).map((next) => next.match(QUOTE)[1]).join("\n");
    return [h("blockquote", {}, markdown(inner)), end];
  }
  if (!line.trim()) return [null, at + 1];
  const end = Math.max(at + 1, run(lines, at, (next) => next.trim() && !special(next)));
  return [h("p", {}, withBreaks(lines.slice(at, end))), end];
}

const special = (line) => [FENCE, HEADING, BULLET, NUMBER, QUOTE].some((pattern) => pattern.test(line));

function run(lines, at, belongs) {
  let end = at;
  while (end < lines.length && belongs(lines[end])) end += 1;
  return end;
}

function code(lines, at, [, mark, language]) {
  const end = run(lines, at + 1, (line) => !line.trim().startsWith(mark));
  const text = lines.slice(at + 1, end).join("\n");
  const bar = h("div", { class: "code-bar" }, h("span", {}, language), iconButton("copy", "Copy the code", () => copy(text)));
  return [h("div", { class: "code" }, bar, h("pre", { tabindex: "0" }, h("code", {}, text))), end + 1];
}

function list(tag, pattern, lines, at) {
  const items = [];
  let end = at;
  for (; end < lines.length; end += 1) {
    const item = lines[end].match(pattern);
    if (item) items.push([item.at(-1)]);
    else if (/^\s+\S/.test(lines[end])) items.at(-1).push(lines[end].trim());
    else break;
  }
  const start = tag === "ol" ? { start: lines[at].match(NUMBER)[1] } : {};
  return [h(tag, start, items.map((item) => h("li", {}, withBreaks(item)))), end];
}

const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());

function table(lines, at) {
  const end = run(lines, at + 2, (line) => line.includes("|"));
  const row = (tag) => (line) => h("tr", {}, cells(line).map((cell) => h(tag, {}, inline(cell))));
  const body = h("tbody", {}, lines.slice(at + 2, end).map(row("td")));
  return [h("div", { class: "grid", tabindex: "0" }, h("table", {}, h("thead", {}, row("th")(lines[at])), body)), end];
}

const withBreaks = (lines) => lines.flatMap((line, n) => (n ? [h("br"), ...inline(line)] : inline(line)));

const INLINE = /(`{1,3})(.+?)\1|\*\*(.+?)\*\*|__(.+?)__|(?<![\w*])\*([^\s*](?:[^*]*[^\s*])?)\*(?!\w)|(?<!\w)_([^\s_](?:[^_]*[^\s_])?)_(?!\w)/g;

function inline(text) {
  const nodes = [];
  let from = 0;
  for (const match of text.matchAll(INLINE)) {
    nodes.push(text.slice(from, match.index));
    const [whole, , literal, bold, strong, italic, emphasis] = match;
    if (literal !== undefined) nodes.push(h("code", {}, literal));
    else if (bold ?? strong) nodes.push(h("strong", {}, inline(bold ?? strong)));
    else nodes.push(h("em", {}, inline(italic ?? emphasis)));
    from = match.index + whole.length;
  }
  nodes.push(text.slice(from));
  return nodes.filter((node) => node !== "");
}
